/** A model that is right most of the time and takes a little while: what it proposes, says and answers. */
import type { Annotation, Message, Revision } from '../../db/records/records.ts'
import { empty, type FakeRecords } from './fakeRecords.ts'
import type { Scene } from './scenes.ts'

export const HASH = 'a'.repeat(64)
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

export type FakeJob = (input: never, tell: (progress: unknown) => void, check: () => void) => Promise<unknown>

export function createFakeModel(
  { images, annotations, messages, newId, commit, category, blank, rowsOf }: FakeRecords,
  scenes: ReadonlyMap<number, Scene>,
  { boxes, stepMs }: { boxes: number; stepMs: number },
) {
  const propose = (imageId: number): Revision => {
    const diff = empty()
    for (const before of rowsOf(imageId))
      if (before.status === 'proposed') diff.annotations.push({ before, after: null })
    for (const object of scenes.get(imageId)?.objects ?? []) {
      const after = {
        ...blank(imageId, object.bboxXywh),
        provenance: 'model',
        status: 'proposed',
        modelBboxXywh: object.bboxXywh,
        modelScore: object.score,
        modelHash: HASH,
        // a crowd would take minutes to caption one by one
        ...(boxes > 0 ? { caption: object.caption, categoryId: category(object.shape, diff) } : {}),
      } as Annotation
      diff.annotations.push({ before: null, after })
    }
    const image = images.get(imageId)!
    diff.images.push({ before: image, after: { ...image, proposedAt: Date.now() } })
    return commit('Propose', diff, { actor: 'model' })
  }
  const caption = (before: Annotation): Revision => {
    const object = scenes
      .get(before.imageId)
      ?.objects.find((o) => o.bboxXywh.every((v, i) => Math.abs(v - before.bboxXywh[i]!) < 40))
    const words = object?.caption ?? 'a small thing'
    const diff = empty()
    const categoryId = before.categoryId ?? category(words.split(' ').at(-1)!, diff)
    diff.annotations.push({ before, after: { ...before, caption: words, categoryId, modelCaption: words } })
    return commit(`Caption ${words}`, diff, { actor: 'model' })
  }

  const talk = (imageId: number, role: Message['role'], text: string, spans: Message['spans']): Message => ({
    id: newId(),
    imageId,
    role,
    text,
    spans,
    attachedBoxesXywh: [],
    regions: [],
    modelHash: role === 'user' ? null : HASH,
    malformed: false,
    stopReason: role === 'user' ? null : 'eos',
    createdAt: Date.now(),
  })

  async function answer(imageId: number, question: string, find: boolean, step: (text: string) => Promise<void>) {
    const objects = (scenes.get(imageId)?.objects ?? []).slice(0, 2)
    let text = find ? '' : 'There is '
    const spans: Message['spans'] = []
    for (const [i, object] of objects.entries()) {
      if (i > 0) text += find ? ', ' : ' next to '
      const start = [...text].length
      const words = find ? question : object.caption
      text += words
      spans.push({
        text: words,
        start,
        end: start + [...words].length,
        boxes: [{ region: i * 4 + 3, bboxXywh: object.bboxXywh, score: 0.93 }],
        unresolved: [],
      })
      await step(text)
    }
    text += find ? '' : '.'
    const asked = talk(imageId, 'user', question, [])
    const given = talk(imageId, 'assistant', text, spans)
    commit(
      'Ask',
      {
        ...empty(),
        messages: [
          { before: null, after: asked },
          { before: null, after: given },
        ],
      },
      { actor: 'model' },
    )
    return { question: asked, answer: given }
  }

  const jobs: Record<string, FakeJob> = {
    'grounding.propose': async ({ imageId }: { imageId: number }, tell: (p: unknown) => void, check) => {
      tell({ kind: 'step', note: 'Looking for regions' })
      await wait(stepMs * 2)
      check()
      tell({ kind: 'proposed', revision: propose(imageId) })
      const rows = rowsOf(imageId).filter((a) => a.status === 'proposed')
      for (const [i, row] of rows.entries()) {
        await wait(stepMs)
        check()
        tell({ kind: 'captioned', revision: caption(annotations.get(row.id)!), done: i + 1, total: rows.length })
      }
      return { proposed: rows.length }
    },
    'grounding.ask': async (
      { imageId, question }: { imageId: number; question: string },
      tell: (p: unknown) => void,
      check,
    ) =>
      answer(imageId, question, false, async (text) => {
        tell({ note: '', text })
        await wait(stepMs * 2)
        check()
      }),
    'grounding.locate': async ({ imageId, phrase }: { imageId: number; phrase: string }) => {
      await wait(stepMs * 2)
      return { ...(await answer(imageId, phrase, true, async () => {})), revision: null }
    },
    'grounding.caption': async ({ annotationIds }: { annotationIds: number[] }) => {
      await wait(stepMs)
      return annotationIds.map((id) => caption(annotations.get(id)!))
    },
  }

  /** Turns the boxes of an answer into proposals. */
  const addAnswer = ({ messageId }: { messageId: number }): Revision => {
    const message = messages.get(messageId)!
    const diff = empty()
    for (const span of message.spans)
      for (const box of span.boxes) {
        diff.annotations.push({
          before: null,
          after: {
            ...blank(message.imageId, box.bboxXywh),
            caption: span.text,
            status: 'proposed',
            provenance: 'model',
            modelScore: box.score,
            modelBboxXywh: box.bboxXywh,
          },
        })
      }
    return commit(`Add ${diff.annotations.length} from the answer`, diff)
  }
  return { propose, caption, addAnswer, jobs }
}
