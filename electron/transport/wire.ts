/** The messages between a window and the services: the same over WebSocket and over Electron's IPC. */
import { z } from 'zod'
import { WireError } from '../contract/errors.ts'

/** From the window. `id` is the sender's own number; answers carry it back. */
export const ClientMessage = z.discriminatedUnion('type', [
  z.object({ id: z.int(), type: z.literal('call'), name: z.string(), input: z.unknown() }),
  z.object({ id: z.int(), type: z.literal('run'), name: z.string(), input: z.unknown() }),
  z.object({ id: z.int(), type: z.literal('cancel') }),
])
export type ClientMessage = z.infer<typeof ClientMessage>

/** To the window. */
export const ServerMessage = z.discriminatedUnion('type', [
  z.object({ id: z.int(), type: z.literal('result'), value: z.unknown() }),
  z.object({ id: z.int(), type: z.literal('error'), error: WireError }),
  z.object({ id: z.int(), type: z.literal('progress'), value: z.unknown() }),
  z.object({ type: z.literal('event'), name: z.string(), payload: z.unknown() }),
])
export type ServerMessage = z.infer<typeof ServerMessage>

/** The subprotocol a WebSocket speaks; the token rides along as a second one, `token.` before it. */
export const SUBPROTOCOL = 'gromatic'
export const TOKEN_PREFIX = 'token.'

/** Largest message (and JSON body) that a window may send. */
export const MAX_MESSAGE_BYTES = 1024 * 1024

/** Path of an image's pixels. `version` keeps a browser from showing another project's image of the same id. */
export function imagePath(imageId: number, width?: number, version = ''): string {
  const query = new URLSearchParams()
  if (width !== undefined) query.set('width', String(Math.round(width)))
  if (version !== '') query.set('v', version)
  const text = query.toString()
  return `/images/${imageId}${text === '' ? '' : `?${text}`}`
}
