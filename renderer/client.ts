/** The one Client of this window. Set once, before the first render; everything else asks for it here. */
import type { Client } from '../electron/contract/api.ts'

let current: Client | null = null

/** Names the client that all actions use. */
export function setClient(client: Client): void {
  current = client
}

/** The client. @throws Error when called before {@link setClient}: a programming mistake, not a state. */
export function client(): Client {
  if (current === null) throw new Error('The window asked for its client before it had one')
  return current
}
