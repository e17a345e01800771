/** A folder as a zip, the same bytes for the same files. */
import { createWriteStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import yazl from 'yazl'
import { listFilesBelow, readHead, readTail } from '../formats/textFile.ts'

/** The first moment that a zip can say. */
const NO_TIME = new Date(1980, 0, 1)
const PACKED_ALREADY = /\.(jpe?g|png|webp|gif|avif)$/i

/** By this our own zips are told from other people's. */
const COMMENT = 'Written by Gromatic'

/** True for a zip that an earlier export of ours made. */
export const isOwnZip = (path: string): boolean =>
  readHead(path, 4).startsWith('PK\u0003\u0004') && readTail(path, COMMENT.length) === COMMENT

/** @throws CANCELLED, DISK_FULL, IO_FAILED, as errors of the file system */
export async function zipFolder(folder: string, target: string, signal?: AbortSignal): Promise<void> {
  const zip = new yazl.ZipFile()
  for (const name of listFilesBelow(folder)) {
    const options = { mtime: NO_TIME, mode: 0o100644, compress: !PACKED_ALREADY.test(name), forceDosTimestamp: true }
    zip.addFile(join(folder, name), name, options)
  }
  zip.end({ comment: COMMENT, forceZip64Format: false })
  await pipeline(zip.outputStream, createWriteStream(target), signal === undefined ? {} : { signal })
  const handle = await open(target, 'r+')
  await handle.sync()
  await handle.close()
}
