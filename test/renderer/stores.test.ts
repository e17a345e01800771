/** The stores and the actions over the fake services: what a click does to what is on screen. */
import { beforeEach, describe, expect, it } from 'vitest'
import {
  acceptAbove,
  createRegion,
  decide,
  deleteRegion,
  relabel,
  setDone,
  undo,
  updateRegion,
} from '../../renderer/actions/decide.ts'
import { addAnswer, ask, captionRegions, propose } from '../../renderer/actions/grounding.ts'
import { nextOpenImage, openImage, selectRegion, stepImage } from '../../renderer/actions/select.ts'
import { startSync } from '../../renderer/actions/sync.ts'
import { setClient } from '../../renderer/client.ts'
import { applyRevision, emptyRecords, keepRecent, useRecords } from '../../renderer/stores/records.ts'
import { currentRegion, currentRegions } from '../../renderer/stores/selectors.ts'
import { useView } from '../../renderer/stores/view.ts'
import { useWork } from '../../renderer/stores/work.ts'
import { createFakeClient } from './fakeClient.ts'

const settle = () => new Promise((resolve) => setTimeout(resolve, 90))
const imageAt = (index: number) => useRecords.getState().imageOrder[index]!
const counts = (imageId: number) => useRecords.getState().images.get(imageId)?.counts

describe('the stores over the services', () => {
  beforeEach(async () => {
    useRecords.setState(emptyRecords, true)
    useView.setState({ imageId: null, regionId: null, threshold: 0, deciding: new Set(), editing: null })
    useWork.setState({ pending: 0, saveError: null, jobs: [], notices: [] })
    setClient(createFakeClient({ images: 6, stepMs: 1, worked: false }))
    await startSync()
    await settle()
  })

  it('opens the first image that is not done', () => {
    expect(useView.getState().imageId).toBe(imageAt(0))
    expect(useRecords.getState().skipped).toHaveLength(2)
  })

  it('shows proposals with captions as they come and brings the first into question', async () => {
    await propose()
    const regions = currentRegions()
    expect(regions.length).toBeGreaterThan(3)
    expect(regions.every((region) => region.caption !== null && region.categoryId !== null)).toBe(true)
    expect(currentRegion()?.status).toBe('proposed')
    expect(counts(imageAt(0))?.proposed).toBe(regions.length)
    expect(useWork.getState().jobs).toEqual([])
  })

  it('goes on at once and comes back when the services refuse', async () => {
    await propose()
    const first = currentRegion()!
    const deciding = decide('accept')
    expect(currentRegion()?.id).not.toBe(first.id)
    expect(useWork.getState().pending).toBe(1)
    await deciding
    expect(useRecords.getState().annotations.get(imageAt(0))?.get(first.id)?.status).toBe('accepted')
    expect(useWork.getState()).toMatchObject({ pending: 0, saveError: null })

    const services = createFakeClient({ images: 1 })
    const refused = currentRegion()!
    setClient({ ...services, call: () => Promise.reject(new Error('The disk is full.')) } as never)
    await decide('reject')
    expect(useWork.getState().saveError).toBe('The disk is full.')
    expect(currentRegion()?.id).toBe(refused.id)
    expect(currentRegion()?.status).toBe('proposed')
  })

  it('accepts what the slider shows, as one revision', async () => {
    await propose()
    useView.setState({ threshold: 0.6 })
    const above = currentRegions().filter((region) => (region.modelScore ?? 1) >= 0.6).length
    await acceptAbove()
    expect(counts(imageAt(0))?.accepted).toBe(above)
    await undo('undo')
    expect(counts(imageAt(0))?.accepted).toBe(0)
    await undo('redo')
    expect(counts(imageAt(0))?.accepted).toBe(above)
  })

  it('edits, relabels and draws', async () => {
    await propose()
    const region = currentRegion()!
    await updateRegion(region.id, { caption: 'mine' })
    expect(currentRegion()).toMatchObject({ caption: 'mine', status: 'edited' })
    const other = [...useRecords.getState().categories.values()].findIndex(({ id }) => id !== region.categoryId)
    await relabel(other)
    expect(currentRegion()?.categoryId).not.toBe(region.categoryId)
    const drawn = await createRegion([1, 2, 30, 40])
    expect(currentRegion()).toMatchObject({ id: drawn?.id, provenance: 'human', status: 'accepted' })
  })

  it('shows what undo changed, on whatever image it was', async () => {
    await propose()
    const id = currentRegion()!.id
    await decide('accept')
    stepImage(1)
    expect(useView.getState().imageId).toBe(imageAt(1))
    await undo('undo')
    expect(useView.getState()).toMatchObject({ imageId: imageAt(0), regionId: id })
  })

  it('shows the image whose being done was taken back', async () => {
    await setDone(true, true)
    expect(useView.getState().imageId).toBe(imageAt(1))
    await undo('undo')
    expect(useView.getState().imageId).toBe(imageAt(0))
    expect(useRecords.getState().images.get(imageAt(0))?.done).toBe(false)
  })

  it('says nothing of a caption whose box was taken back meanwhile, and something of any other', async () => {
    const services = createFakeClient({ images: 6, stepMs: 1, worked: false })
    setClient({ ...services, run: () => Promise.reject(new Error('Box 1 is not there any more.')) } as never)
    const drawn = await createRegion([1, 2, 30, 40])
    useRecords.setState({ engine: { status: 'ready' } as never })
    await captionRegions([drawn!.id])
    expect(useWork.getState().notices.map(({ text }) => text)).toEqual(['Box 1 is not there any more.'])
    useWork.setState({ notices: [] })
    await deleteRegion()
    await captionRegions([drawn!.id])
    expect(useWork.getState().notices).toEqual([])
  })

  it('keeps what is on screen when the connection comes back, and reads what happened meanwhile', async () => {
    const services = createFakeClient({ images: 6, stepMs: 1, worked: false })
    let tell: (connected: boolean) => void = () => {}
    let heard = true
    const client = {
      ...services,
      on: (event: 'workspace.revised', listener: (payload: never) => void) =>
        services.on(event, (payload) => heard && listener(payload as never)),
      onConnection: (listener: (connected: boolean) => void) => {
        tell = listener
        listener(true)
      },
    }
    useRecords.setState(emptyRecords, true)
    useView.setState({ imageId: null })
    setClient(client as never)
    await startSync()
    await settle()
    await propose()
    const { id } = currentRegion()!
    useView.setState({ editing: { annotationId: id, field: 'caption', place: 'bar' } })
    heard = false
    tell(false)
    const { annotation } = await services.call('annotations.create', { imageId: imageAt(0), bboxXywh: [1, 1, 9, 9] })
    heard = true
    const seen = new Set<boolean>()
    const stop = useRecords.subscribe(() => seen.add(currentRegion() === null))
    tell(true)
    await settle()
    stop()
    expect([...seen]).toEqual([false])
    expect(useView.getState().editing?.annotationId).toBe(id)
    expect(useRecords.getState().annotations.get(imageAt(0))?.has(annotation.id)).toBe(true)
  })

  it('goes from image to image of those that the filter shows, also from one that it hides', async () => {
    const { images, imageOrder } = useRecords.getState()
    const names = ['a', 'keep b', 'c', 'keep d', 'e', 'f']
    const renamed = imageOrder.map((id, i) => [id, { ...images.get(id)!, fileName: names[i]! }] as const)
    useRecords.setState({ images: new Map(renamed) })
    const openIndex = () => imageOrder.indexOf(useView.getState().imageId!)
    openImage(imageAt(2))
    useView.setState({ imageFilter: 'KEEP ' })
    stepImage(-1)
    expect(openIndex()).toBe(1)
    stepImage(-1)
    expect(openIndex()).toBe(1)
    stepImage(1)
    expect(openIndex()).toBe(3)
    stepImage(1)
    expect(openIndex()).toBe(3)
    expect(nextOpenImage()).toBe(imageAt(1))
    openImage(imageAt(5))
    expect(nextOpenImage()).toBe(imageAt(1))
    useView.setState({ imageFilter: '' })
    stepImage(-1)
    expect(openIndex()).toBe(4)
  })

  it('keeps the talk and adds its boxes', async () => {
    expect(await ask('What is there?')).toBe(true)
    const messages = useRecords.getState().messages.get(imageAt(0))!
    expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant'])
    const before = currentRegions().length
    await addAnswer(messages[1]!.id)
    expect(currentRegions().length).toBe(before + messages[1]!.spans.length)
    selectRegion(null)
    openImage(imageAt(2))
    await settle()
    expect(useRecords.getState().messages.get(imageAt(2))).toEqual([])
  })
})

describe('applyRevision', () => {
  it('changes nothing when it is applied twice, and names images it cannot count', async () => {
    const services = createFakeClient({ images: 2, worked: false, stepMs: 0 })
    const images = (await services.call('images.list', {})).items
    const start = {
      ...emptyRecords,
      images: new Map(images.map((image) => [image.id, image])),
      annotations: new Map([[images[0]!.id, new Map()]]),
    }
    const { revision } = await services.call('annotations.create', { imageId: images[0]!.id, bboxXywh: [0, 0, 5, 5] })
    const once = { ...start, ...applyRevision(start, revision, null).patch }
    const twice = { ...once, ...applyRevision(once, revision, null).patch }
    expect(twice.annotations).toEqual(once.annotations)
    expect(once.images.get(images[0]!.id)?.counts.accepted).toBe(1)
    const elsewhere = await services.call('annotations.create', { imageId: images[1]!.id, bboxXywh: [0, 0, 5, 5] })
    expect(applyRevision(once, elsewhere.revision, null).staleImageIds).toEqual([images[1]!.id])
  })

  it('keeps only the images opened last', () => {
    let map: ReadonlyMap<number, number> = new Map()
    for (let id = 1; id <= 100; id++) map = keepRecent(map, id, id)
    expect(map.size).toBe(24)
    expect(map.has(100)).toBe(true)
    expect(map.has(1)).toBe(false)
  })
})
