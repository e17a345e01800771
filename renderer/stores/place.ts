/** The image that was open last, by project: a reload goes on there, and so does the next day. */
import { useRecords } from './records.ts'
import { useView } from './view.ts'

const STORAGE_KEY = 'gromatic.places'
/** Projects remembered; the oldest are forgotten. */
const KEPT = 50

/** Of this tab, then of any: two tabs on one project each stay where they are. */
const storages = () => [globalThis.sessionStorage, globalThis.localStorage]

function read(storage: Storage | undefined): Map<string, number> {
  try {
    const stored: unknown = JSON.parse(storage?.getItem(STORAGE_KEY) ?? '[]')
    return new Map(Array.isArray(stored) ? stored : [])
  } catch {
    return new Map() // unreadable: it is only a convenience
  }
}

/** The id of the image that was open last in a project, if any is known; it may be gone by now. */
export function lastPlace(projectPath: string): number | undefined {
  return storages()
    .map((storage) => read(storage).get(projectPath))
    .find((place) => place !== undefined)
}

/** Starts remembering; called once by the window. */
export function rememberPlace(): void {
  useView.subscribe(({ imageId }, before) => {
    const path = useRecords.getState().project?.path
    if (imageId === before.imageId || imageId === null || path === undefined) return
    for (const storage of storages()) {
      const places = read(storage)
      places.delete(path)
      places.set(path, imageId)
      try {
        storage?.setItem(STORAGE_KEY, JSON.stringify([...places].slice(-KEPT)))
      } catch {
        // a full or forbidden storage only costs the convenience
      }
    }
  })
}
