/** The two languages and the switch between them. */
import i18next from 'i18next'
import { initReactI18next } from 'react-i18next'
import { en } from './en.ts'
import { zh } from './zh.ts'

void i18next.use(initReactI18next).init({
  resources: { en: { translation: en }, zh: { translation: zh } },
  lng: 'en',
  fallbackLng: 'en',
  interpolation: { escapeValue: false }, // React writes text nodes; escaping twice would show &amp;
  initAsync: false,
})

/** Speaks a language from now on. */
export function speak(language: 'en' | 'zh'): void {
  if (globalThis.document !== undefined) document.documentElement.lang = language
  if (i18next.language !== language) void i18next.changeLanguage(language)
}

export default i18next
