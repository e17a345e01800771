/** Finds the way to the services: Electron's bridge, or served mode's WebSocket with the token from the address. */
import type { Client } from '../electron/contract/api.ts'
import { type Bridge, bridgeClient } from '../electron/transport/bridgeClient.ts'
import { connectWebSocket } from '../electron/transport/client.ts'
import { useView } from './stores/view.ts'

const TOKEN_KEY = 'gromatic.token'
const givenToken = () => new URLSearchParams(location.hash.slice(1)).get('token')

/**
 * The client of this window, or null when a browser came without a token. The token leaves the address bar at once
 * (it would be copied with it) and stays for this tab, so that reloading works.
 */
export function connect(): Client | null {
  const { gromaticBridge, gromatic } = globalThis as { gromaticBridge?: Bridge; gromatic?: Client }
  if (gromatic !== undefined) return gromatic
  if (gromaticBridge !== undefined) return bridgeClient(gromaticBridge)
  const given = givenToken()
  if (given !== null) {
    sessionStorage.setItem(TOKEN_KEY, given)
    history.replaceState(null, '', location.pathname + location.search)
  }
  // the address of an application that was started anew, put into the same tab, changes the fragment alone
  addEventListener('hashchange', () => givenToken() !== null && location.reload())
  const token = given ?? sessionStorage.getItem(TOKEN_KEY)
  if (token === null) return null
  return connectWebSocket(location.origin, token, () => useView.setState({ refused: true }))
}
