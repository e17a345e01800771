/** Names of the IPC channels, and what the page may ask of the system over them. */
import { z } from 'zod'

export const channels = {
  /** page -> main: this page is there; whatever an earlier page of the window still ran ends. */
  connect: 'gromatic:connect',
  /** main -> page: whether the services answer. */
  connection: 'gromatic:connection',
  /** Both ways: one message of the transport as JSON text. */
  message: 'gromatic:message',
  /** page -> main, answered: a native dialog. */
  pick: 'gromatic:pick',
  /** main -> page: a menu item was chosen. */
  menu: 'gromatic:menu',
} as const

export const PickRequest = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('folder') }),
  z.object({ kind: z.literal('project') }),
  z.object({ kind: z.literal('save'), suggestedName: z.string().max(1000) }),
])
export type PickRequest = z.infer<typeof PickRequest>
