/** The image files that paths on the command line mean. */
import { stat } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { scanFolder } from '../../db/scanFolder.ts'
import { AppError } from '../contract/errors.ts'
import { probeImage } from './pixels.ts'

export type FoundImage =
  | { kind: 'image'; path: string; fileName: string; width: number; height: number }
  | { kind: 'skipped'; fileName: string; reason: string }

/** The folder that file names are relative to: the one folder given, else what all paths have in common. @throws NOT_FOUND */
export async function commonRoot(paths: readonly string[]): Promise<string> {
  const folders: string[] = []
  for (const path of paths.map((given) => resolve(given))) {
    const info = await stat(path).catch(() => null)
    if (info === null) throw new AppError('NOT_FOUND', `There is no file or folder ${path}.`)
    folders.push(info.isDirectory() ? path : dirname(path))
  }
  let root = folders[0]!
  for (const folder of folders) {
    while (folder !== root && !folder.startsWith(root.endsWith(sep) ? root : root + sep)) {
      if (dirname(root) === root) return root
      root = dirname(root)
    }
  }
  return root
}

/** Every image that the paths mean, each once, folders in the order people count; what is no image comes with the reason. */
export async function* imageFiles(
  paths: readonly string[],
  root: string,
  signal: AbortSignal,
): AsyncGenerator<FoundImage> {
  const seen = new Set<string>()
  const nameOf = (path: string) => relative(root, path).split(sep).join('/')
  for (const path of paths.map((given) => resolve(given))) {
    if (!(await stat(path)).isDirectory()) {
      if (seen.has(path)) continue
      seen.add(path)
      const size = await probeImage(path).catch((error: Error) => error)
      if (size instanceof Error)
        yield { kind: 'skipped', fileName: nameOf(path) || basename(path), reason: size.message }
      else yield { kind: 'image', path, fileName: nameOf(path), ...size }
      continue
    }
    for await (const item of scanFolder(path, { probe: probeImage, signal })) {
      const file = join(path, item.fileName)
      if (seen.has(file)) continue
      seen.add(file)
      if (item.kind === 'skipped') yield { kind: 'skipped', fileName: nameOf(file), reason: item.reason }
      else if (item.kind === 'file') {
        yield { kind: 'image', path: file, fileName: nameOf(file), width: item.width, height: item.height }
      }
    }
  }
}
