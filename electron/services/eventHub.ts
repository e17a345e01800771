/** Tells everyone who listens; one listener's failure is not the others'. */
import type { EventName, EventPayload } from '../contract/api.ts'

export class EventHub {
  readonly #listeners = new Map<EventName, Set<(payload: never) => void>>()

  on<K extends EventName>(event: K, listener: (payload: EventPayload<K>) => void): () => void {
    const set = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, set)
    set.add(listener)
    return () => set.delete(listener)
  }

  emit<K extends EventName>(event: K, payload: EventPayload<K>): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        listener(payload as never)
      } catch (error) {
        queueMicrotask(() => console.error(`A listener of ${event} failed:`, error))
      }
    }
  }
}
