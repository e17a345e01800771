/** The formats there are, and what a way through one of them keeps and loses. */
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { FormatInfo } from '../../electron/contract/api.ts'
import { client } from '../client.ts'
import { zhFormats } from '../i18n/zhFormats.ts'

/** Asked for once a dialog; empty until they are there. */
export function useFormats(): readonly FormatInfo[] {
  const [formats, setFormats] = useState<readonly FormatInfo[]>([])
  useEffect(() => {
    client()
      .call('transfer.formats', {})
      .then(setFormats, () => setFormats([]))
  }, [])
  return formats
}

export function FormatFacts({ format }: { format: FormatInfo | undefined }) {
  const { t, i18n } = useTranslation()
  if (format === undefined) return null
  const { keeps, loses } = i18n.language === 'zh' ? zhFormats[format.id] : format
  return (
    <dl className="format-facts">
      <dt>{t('transfer.keeps')}</dt>
      <dd>{keeps}</dd>
      <dt>{t('transfer.loses')}</dt>
      <dd>{loses}</dd>
    </dl>
  )
}
