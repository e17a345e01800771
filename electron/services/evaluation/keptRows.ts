/** What was measured already, a line of JSON an image: a killed evaluation goes on where it was. */
import { createReadStream, existsSync } from 'node:fs'
import { open, truncate } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { z } from 'zod'

const Line = z.object({
  image: z.union([z.number(), z.string()]),
  /** Names what was asked about which picture: a line that does not fit is measured again. */
  asked: z.string(),
  row: z.unknown(),
  skipped: z.string().optional(),
})
export type KeptLine = z.infer<typeof Line>

/** The lines of a file that are whole; what a kill left of a last one is cut off. */
export async function readKept(path: string): Promise<Map<string, KeptLine>> {
  const kept = new Map<string, KeptLine>()
  if (!existsSync(path)) return kept
  let bytes = 0
  for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    const parsed = Line.safeParse(jsonOrNull(text))
    if (!parsed.success) break
    bytes += Buffer.byteLength(text) + 1
    kept.set(lineKey(parsed.data.image), parsed.data)
  }
  await truncate(path, bytes).catch(() => {}) // a file that cannot be written is told when it is
  return kept
}

export const lineKey = (image: number | string) => JSON.stringify(image)

/** Appends lines; each is handed to the system before the next image is asked about. */
export async function appendKept(
  path: string,
): Promise<{ add(line: KeptLine): Promise<void>; close(): Promise<void> }> {
  const handle = await open(path, 'a')
  return {
    add: async (line) => void (await handle.appendFile(`${JSON.stringify(line)}\n`)),
    close: () => handle.close(),
  }
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
