/** What the page may ask of the system's own dialogs. */
import { z } from 'zod'

export const PickRequest = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('folder') }),
  z.object({ kind: z.literal('project') }),
  z.object({ kind: z.literal('save'), suggestedName: z.string().max(1000) }),
])
export type PickRequest = z.infer<typeof PickRequest>
