/** Out: the record of the work as files that other programs read. */
import { isAbsolute, resolve } from 'node:path'
import { exporters } from '../../db/formats/format.ts'
import { AppError } from '../contract/errors.ts'
import type { Handlers } from './handlers.ts'
import { copyUpright } from './pixels.ts'
import type { ProjectSession } from './projectSession.ts'

/** For a run without a project, and for scripts that write the same file again. */
export { type CocoItem, isOwnExport, writeCoco } from '../../db/formats/coco.ts'

export function transferHandlers(session: ProjectSession) {
  return {
    'transfer.export': async ({ format, path, status, copyImages, overwrite }, { signal, progress }) => {
      if (path.trim() === '') throw new AppError('INVALID_INPUT', 'Where to? The path is empty.')
      const target = isAbsolute(path) ? path : resolve(session.store().path, '..', path)
      const source = session.store().exportSource()
      try {
        const options = {
          path: target,
          status,
          copyImages,
          overwrite,
          signal,
          onProgress: progress,
          copyImage: copyUpright,
        }
        return await exporters[format].export(source, options)
      } finally {
        source.close()
      }
    },
  } satisfies Partial<Handlers>
}
