/** Projects, images, history and talk: what the window reads, and the writes that are not about regions. */
import { existsSync } from 'node:fs'
import { diffOf } from '../../db/records/diff.ts'
import { AppError } from '../contract/errors.ts'
import type { Handlers } from './handlers.ts'
import type { ProjectSession } from './projectSession.ts'
import type { RecentProjects } from './recentProjects.ts'

export function workspaceHandlers(session: ProjectSession, recent: RecentProjects) {
  return {
    'project.current': () => session.current(),
    'project.recent': () => recent.list().filter(({ path }) => existsSync(path)),
    'project.open': ({ path }) => session.open(path),
    'project.openFolder': ({ path }) => session.openFolder(path),
    'project.create': ({ path, imagesDir }) => session.create(path, imagesDir),
    'project.close': async () => {
      await session.close()
      return {}
    },
    'project.scan': (_input, { signal, progress }) => session.scan(progress, signal),

    'images.list': (input) => session.store().images.list(input),
    'images.get': ({ id }) => {
      const image = session.store().images.get(id)
      session.imageFile(image).catch(() => {}) // notices whether the file is still the one that was read
      return image
    },
    'images.skipped': () => session.store().images.skipped(),
    'images.setDone': ({ id, done }) => {
      const before = session.imageRecord(id)
      const label = done ? 'Mark image done' : 'Mark image not done'
      return session.commit('human', label, diffOf({ images: [{ before, after: { ...before, done } }] }))
    },

    'history.list': (input) => session.store().history.list(input),
    'history.undo': async () => session.tell(await session.store().turn('undo')),
    'history.redo': async () => session.tell(await session.store().turn('redo')),
    'history.turn': ({ direction }, { signal, progress }) =>
      session.whileOpen(signal, async (open) =>
        session.tell(await session.store().turn(direction, { signal: open, onProgress: progress })),
      ),

    'messages.list': ({ imageId }) => {
      session.store().images.get(imageId)
      return session.store().messages.list(imageId)
    },
    'messages.clear': ({ imageId }) => {
      session.store().images.get(imageId)
      const messages = session.store().messages.list(imageId)
      if (messages.length === 0) throw new AppError('INVALID_INPUT', 'There is no conversation to clear.')
      return session.commit(
        'human',
        'Clear conversation',
        diffOf({ messages: messages.map((before) => ({ before, after: null })) }),
      )
    },
  } satisfies Partial<Handlers>
}
