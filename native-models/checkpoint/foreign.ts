import type { FileHandle } from 'node:fs/promises'
import { GromaError } from '../errors.ts'

/** Things that end up under a checkpoint's file names without being one, by their first bytes. */
const impostors: readonly { looksLike: (head: string) => boolean; explanation: string }[] = [
  {
    looksLike: (head) => head.startsWith('version https://git-lfs'),
    explanation: 'is a git-lfs pointer, not the file itself: run "git lfs pull" or download the file again',
  },
  {
    looksLike: (head) => /^\s*<(!doctype|html|\?xml|head)/i.test(head),
    explanation: 'is a web page, not a model file: the download was redirected or refused',
  },
  {
    looksLike: (head) => head.startsWith('\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19'),
    explanation: "is in torch's old format (before 1.6): load and save it again with a current torch",
  },
  { looksLike: (head) => head.startsWith('GGUF'), explanation: 'is a GGUF file, which cannot hold Groma' },
  { looksLike: (head) => head.startsWith('\x89HDF'), explanation: 'is an HDF5 file, not a torch checkpoint' },
  { looksLike: (head) => head.startsWith('\x1f\x8b'), explanation: 'is compressed with gzip: unpack it first' },
  { looksLike: (head) => /^\s*\{\s*"(error|message)"/.test(head), explanation: 'is an error message from a server' },
]

/** @throws CHECKPOINT_FOREIGN when the file's first bytes tell what it really is */
export async function refuseForeignFile(handle: FileHandle, file: string, fileBytes: number): Promise<void> {
  if (fileBytes === 0) throw new GromaError('CHECKPOINT_TRUNCATED', `${file}: is empty`)
  const buffer = Buffer.alloc(Math.min(256, fileBytes))
  await handle.read(buffer, 0, buffer.length, 0)
  const head = buffer.toString('latin1')
  const impostor = impostors.find((candidate) => candidate.looksLike(head))
  if (impostor) throw new GromaError('CHECKPOINT_FOREIGN', `${file}: ${impostor.explanation}`)
}
