/** Everything that asks the model: proposals, captions, questions, phrases. */
import type { Revision } from '../../db/records/records.ts'
import { client } from '../client.ts'
import i18n from '../i18n/index.ts'
import { useRecords } from '../stores/records.ts'
import { currentRegions } from '../stores/selectors.ts'
import { useTalk } from '../stores/talk.ts'
import { useView } from '../stores/view.ts'
import { announce, notify } from '../stores/work.ts'
import { jobOf, runJob } from './jobs.ts'
import { save } from './save.ts'
import { selectFirstUndecided, selectRegion } from './select.ts'
import { takeRevision } from './sync.ts'

/** Asks for regions of the open image; boxes show as soon as they are stored, captions fill in. */
export async function propose(): Promise<void> {
  const { imageId } = useView.getState()
  if (imageId === null || jobOf('propose', imageId) !== undefined) return
  const job = { kind: 'propose', imageId, title: i18n.t('jobs.proposing') } as const
  const result = await runJob('grounding.propose', { imageId }, job, (progress, update) => {
    if (progress.kind === 'step') return update({ note: progress.note })
    takeRevision(progress.revision)
    if (progress.kind === 'proposed') {
      const { regionId } = useView.getState()
      // proposals replaced the one that was in question
      if (regionId !== null && !currentRegions().some((region) => region.id === regionId)) selectRegion(null)
      return update({ note: i18n.t('jobs.captions'), done: 0, total: null })
    }
    update({ note: i18n.t('jobs.captions'), done: progress.done, total: progress.total })
  })
  selectFirstUndecided(imageId)
  if (result === undefined) return
  // the decision bar says it on the image itself; a notice would stand above the next one
  if (result.proposed === 0) announce(i18n.t('jobs.nothingFound'))
  else announce(i18n.t('jobs.proposed', { count: result.proposed }))
}

/** Has the model write the caption of regions that a person drew. A failure costs only the caption. */
export async function captionRegions(annotationIds: number[]): Promise<void> {
  const { imageId } = useView.getState()
  const engine = useRecords.getState().engine
  if (annotationIds.length === 0 || engine === null || engine.status === 'stopped' || engine.status === 'failed') return
  const job = { kind: 'caption', imageId, title: i18n.t('jobs.captioning') } as const
  const gone = () => {
    const regions = imageId === null ? undefined : useRecords.getState().annotations.get(imageId)
    return regions !== undefined && !annotationIds.some((id) => regions.has(id))
  }
  const revisions = await runJob(
    'grounding.caption',
    { annotationIds },
    job,
    (progress, update) => update({ note: progress.text }),
    gone, // drawn and taken back at once
  )
  for (const revision of revisions ?? []) takeRevision(revision)
}

/** Sends what stands in the talk's box: a question, or a phrase to find. */
export async function ask(text: string): Promise<boolean> {
  const view = useView.getState()
  const { imageId } = view
  const question = text.trim()
  if (imageId === null || question === '' || useTalk.getState().running !== null) return false
  const find = view.talkMode === 'find'
  const job = {
    kind: find ? 'locate' : 'ask',
    imageId,
    title: i18n.t(find ? 'jobs.finding' : 'jobs.answering'),
  } as const
  useTalk.setState({ running: { imageId, question, text: '', note: '' } })
  const progress = (
    { note, text: soFar }: { note: string; text: string },
    update: (change: { note: string }) => void,
  ) => {
    update({ note })
    useTalk.setState(({ running }) => ({ running: running === null ? null : { ...running, note, text: soFar } }))
  }
  const attached = currentRegions().filter((region) => view.attachedIds.includes(region.id))
  const result = find
    ? await runJob('grounding.locate', { imageId, phrase: question, all: view.findAll }, job, progress)
    : await runJob(
        'grounding.ask',
        {
          imageId,
          question,
          grounded: view.talkMode === 'grounded',
          boxesXywh: attached.map((region) => region.bboxXywh),
        },
        job,
        progress,
      )
  useTalk.setState({ running: null })
  if (result === undefined) return false
  addMessages(imageId, [result.question, result.answer])
  const found = 'revision' in result ? (result.revision as Revision | null) : null
  if (found !== null) {
    takeRevision(found)
    selectFirstUndecided(imageId)
  }
  useView.setState({ attachedIds: [] })
  announce(result.answer.text)
  return true
}

/** Adds messages that an answer carried; the revision's event may have brought them already. */
function addMessages(imageId: number, rows: readonly Awaited<ReturnType<typeof listMessages>>[number][]): void {
  useRecords.setState((state) => {
    const have = state.messages.get(imageId) ?? []
    const ids = new Set(rows.map((row) => row.id))
    const merged = [...have.filter((row) => !ids.has(row.id)), ...rows].sort((a, b) => a.id - b.id)
    return { messages: new Map(state.messages).set(imageId, merged) }
  })
}

const listMessages = (imageId: number) => client().call('messages.list', { imageId })

/** Turns the boxes of an answer into proposals. */
export async function addAnswer(messageId: number, spanIndex: number | null = null): Promise<void> {
  const revision = await save(() => client().call('grounding.addAnswer', { messageId, spanIndex }))
  if (revision === undefined) return
  if (revision === null) {
    notify('info', i18n.t('talk.alreadyThere'))
    return
  }
  takeRevision(revision)
  const added = revision.diff.annotations.find(({ before, after }) => before === null && after !== null)?.after
  if (added) selectRegion(added.id)
}

/** Empties the talk about the open image (one undo). */
export async function clearTalk(): Promise<void> {
  const { imageId } = useView.getState()
  if (imageId === null) return
  const revision = await save(() => client().call('messages.clear', { imageId }))
  if (revision !== undefined) takeRevision(revision)
}
