/** What a person chose, kept in one small file. */
import { z } from 'zod'
import { Settings } from '../contract/api.ts'
import type { EventHub } from './eventHub.ts'
import type { Handlers } from './handlers.ts'
import { readJsonFile, writeJsonFile } from './jsonFile.ts'

const DEFAULTS: Settings = { theme: 'system', language: 'en', proposeAhead: 3, model: 'demo' }
/** Every key by itself: a value that an older version wrote does not take the others with it. */
const Stored = z.object({
  theme: Settings.shape.theme.catch(DEFAULTS.theme),
  language: Settings.shape.language.catch(DEFAULTS.language),
  proposeAhead: Settings.shape.proposeAhead.catch(DEFAULTS.proposeAhead),
  model: Settings.shape.model.catch(DEFAULTS.model),
  provider: Settings.shape.provider.catch(undefined),
})

export class SettingsService {
  readonly #path: string
  readonly #events: EventHub
  #settings: Settings

  constructor(path: string, events: EventHub) {
    this.#path = path
    this.#events = events
    this.#settings = readJsonFile(path, Stored, DEFAULTS)
  }

  get(): Settings {
    return this.#settings
  }

  set(change: { [K in keyof Settings]?: Settings[K] | undefined }): Settings {
    const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined))
    const next = { ...this.#settings, ...given }
    writeJsonFile(this.#path, next)
    this.#settings = next
    this.#events.emit('settings.changed', next)
    return next
  }

  handlers() {
    return {
      'settings.get': () => this.get(),
      'settings.set': (change) => this.set(change),
    } satisfies Partial<Handlers>
  }
}
