/** What is needed to show one image. */
import { client } from '../client.ts'
import { keepRecent, useRecords } from '../stores/records.ts'
import { notify } from '../stores/work.ts'
import { errorText } from './save.ts'

/** Has the services look at an image's file again: events tell when it is another one by now, or gone. */
export function lookAgain(imageId: number | null): void {
  if (imageId !== null)
    client()
      .call('images.get', { id: imageId })
      .catch(() => {}) // whoever needs the file says so
}

/** Loads boxes and talk of an image unless they are there. */
export async function loadImage(imageId: number): Promise<void> {
  const have = useRecords.getState()
  if (have.annotations.has(imageId) && have.messages.has(imageId)) return
  try {
    const [annotations, messages] = await Promise.all([
      client().call('annotations.list', { imageId }),
      client().call('messages.list', { imageId }),
    ])
    useRecords.setState((state) => ({
      annotations: keepRecent(state.annotations, imageId, new Map(annotations.map((row) => [row.id, row]))),
      messages: keepRecent(state.messages, imageId, messages),
    }))
  } catch (error) {
    notify('error', errorText(error))
  }
}
