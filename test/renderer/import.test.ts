/** The import wizard over the fake services: what is asked before it goes on, what is sent, and that nothing is written early. */
import { beforeEach, describe, expect, it } from 'vitest'
import {
  cancelImport,
  check,
  choose,
  chooseLater,
  goTo,
  lookAt,
  nextStep,
  openImport,
  pauseImport,
  previousStep,
  resumeImport,
  setFormat,
  setPath,
  startImport,
  undoImport,
} from '../../renderer/actions/import.ts'
import { startSync } from '../../renderer/actions/sync.ts'
import { setClient } from '../../renderer/client.ts'
import i18n from '../../renderer/i18n/index.ts'
import { planLines, reportText } from '../../renderer/pages/import/planWords.ts'
import { blockedBy, emptyImport, isPlanned, useImport } from '../../renderer/stores/importing.ts'
import { emptyRecords, useRecords } from '../../renderer/stores/records.ts'
import { currentRegions } from '../../renderer/stores/selectors.ts'
import { useView } from '../../renderer/stores/view.ts'
import { createFakeClient } from './fakeClient.ts'
import { type FakeFile, withTransfer } from './fakeTransfer.ts'

const FILE = '/data/labels.json'
const state = useImport.getState
const classNames = () => [...useRecords.getState().categories.values()].map(({ name }) => name)
const blocked = () => blockedBy(state(), classNames())
const headSeq = () => useRecords.getState().project?.headSeq
let asked: ReturnType<typeof withTransfer>['asked']

async function start(file: FakeFile = {}, steps = 1): Promise<void> {
  useRecords.setState(emptyRecords, true)
  useImport.setState(emptyImport, true)
  useView.setState({ imageId: null, regionId: null, dialog: null, threshold: 0 })
  const fake = withTransfer(createFakeClient({ images: 2, stepMs: 0, worked: false }), file, steps)
  asked = fake.asked
  setClient(fake.client)
  await startSync()
  await openImport({ path: FILE })
}

describe('the import wizard', () => {
  beforeEach(() => start())

  it('says whose numbers results have, and says nothing of them for other formats', async () => {
    setFormat('coco-results')
    chooseLater({ instances: ' /data/instances.json ' })
    await nextStep()
    expect(asked.at(-1)?.instances).toBe('/data/instances.json')
    await previousStep()
    chooseLater({ instances: 'project' })
    await nextStep()
    expect(asked.at(-1)?.instances).toBe('project')
    await previousStep()
    setFormat('coco')
    chooseLater({ instances: 'project' })
    await nextStep()
    expect(asked.at(-1)?.instances).toBeUndefined()
  })

  it('takes the format that the file looks like, and passes over steps without choices', async () => {
    expect(state()).toMatchObject({ step: 'source', format: 'coco', problem: null })
    expect(useView.getState().dialog).toBe('import')
    for (const step of ['check', 'classes', 'import']) {
      expect(await nextStep()).toBe(true)
      expect(state().step).toBe(step)
    }
    await previousStep()
    expect(state().step).toBe('classes')
    expect(asked).toHaveLength(1) // nothing changed: the file is read once
  })

  it('stays where it is for a path that leads nowhere, or to nothing that is known', async () => {
    setPath('/nowhere')
    expect(await nextStep()).toBe(false)
    expect(state()).toMatchObject({ step: 'source', problem: 'There is no /nowhere.' })
    expect(await lookAt('/data')).toBe(false)
    expect(blocked()).toBe('format')
    setPath(' ')
    expect(blocked()).toBe('path')
  })

  it('asks about bad rows, then missing images, then standing annotations', async () => {
    await start({ bad: 2, missing: 3, standing: 1 })
    await nextStep()
    expect(blocked()).toBe('problems')
    expect(await nextStep()).toBe(false)
    await choose({ skipBad: true })
    expect(blocked()).toBe('missing')
    await choose({ missing: 'skip' })
    expect(blocked()).toBe(null)
    await nextStep()
    await nextStep()
    expect(state().step).toBe('conflicts')
    expect(blocked()).toBe('conflicts')
    expect(await nextStep()).toBe(false)
    chooseLater({ conflicts: 'skip' })
    await nextStep()
    expect(state().plan?.annotations).toMatchObject({ toAdd: 0, leftOut: 1 })
    // what stood in the way is still known, although the plan now leaves it alone
    await previousStep()
    expect(state()).toMatchObject({ step: 'conflicts', standing: { images: 1, humanAnnotations: 1 } })
    expect(asked.at(-1)).toMatchObject({ skipBad: true, missingImages: 'skip', conflicts: 'skip' })
    // another choice of the preview asks about them again
    await choose({ missing: 'add' })
    expect(state().choices.conflicts).toBe('ask')
    expect(headSeq()).toBe(0)
  })

  it('wants pictures that are all there, or a word about the rest', async () => {
    await start({ missing: 2 })
    await nextStep()
    await choose({ missing: 'copy', picturesDir: ' /pictures ' })
    expect(asked.at(-1)).toMatchObject({ imagesDir: '/pictures', missingImages: 'refuse' })
    expect(blocked()).toBe('notFound')
    await choose({ leaveRest: true })
    expect(asked.at(-1)).toMatchObject({ missingImages: 'skip' })
    expect(blocked()).toBe(null)
    await choose({ picturesDir: '' })
    expect(asked.at(-1)).toMatchObject({ copyImages: true })
  })

  it('merges only into classes that there are, and keeps the counts of those left out', async () => {
    await start({ classes: ['circle', 'wheel'] })
    await nextStep()
    await nextStep()
    chooseLater({ categories: { circle: { action: 'merge', into: 'shape' }, wheel: { action: 'skip' } } })
    expect(blocked()).toBe('target')
    expect(await nextStep()).toBe(false)
    useRecords.setState({ categories: new Map([[9, { id: 9, name: 'Shape', color: '#000000' }]]) })
    expect(await nextStep()).toBe(true)
    expect(state().step).toBe('import')
    expect(state().classCounts.get('wheel')).toBe(1)
    expect(planLines(state().plan!, i18n.t)).toEqual({
      writes: ['1 annotation added', 'Merged into classes of the project: circle → shape'],
      leaves: ['Classes left out: wheel'],
    })
  })

  it('writes in the last step only, reports, and takes it back', async () => {
    await nextStep()
    await startImport()
    expect(headSeq()).toBe(0)
    await goTo('import')
    await startImport()
    const { result } = state()
    expect(result?.seq).toBe(1)
    expect(currentRegions()).toHaveLength(1)
    expect(reportText(result!, FILE, 'COCO instances', i18n.t)).toBe(
      'From /data/labels.json (COCO instances)\n1 annotation added\nNew classes: circle',
    )
    expect(await undoImport(1)).toBe('undone')
    expect(currentRegions()).toHaveLength(0)
    expect(await undoImport(1)).toBe('notLast') // it is taken back already
    await openImport()
    expect(state()).toMatchObject({ step: 'source', path: '', result: null })
  })

  it('does not take back what was done after it', async () => {
    await nextStep()
    await goTo('import')
    await startImport()
    const services = (await import('../../renderer/client.ts')).client()
    await services.call('annotations.create', { imageId: useRecords.getState().imageOrder[0]!, bboxXywh: [9, 9, 9, 9] })
    expect(await undoImport(state().result!.seq!)).toBe('notLast')
    expect(currentRegions()).toHaveLength(2)
  })

  it('can be cancelled while it writes', async () => {
    await start({}, 50)
    await goTo('import')
    const running = startImport()
    expect(state().writing).not.toBe(null)
    pauseImport() // the window must not lose sight of it
    expect(state().writing).not.toBe(null)
    cancelImport()
    await running
    expect(state()).toMatchObject({ writing: null, result: null, problem: 'Cancelled. Nothing was imported.' })
    expect(headSeq()).toBe(0)
  })

  it('stops a counting when a choice changes, and waits for the last one', async () => {
    await start({ bad: 1 }, 30)
    const first = nextStep()
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(state().checking).not.toBe(null)
    const second = choose({ skipBad: true })
    await Promise.all([first, second])
    expect(isPlanned(state())).toBe(true)
    expect(state().plan?.refusal).toBe(null)
    expect(asked).toHaveLength(2)
    // Enter while it counts goes on when it is done
    void check()
    expect(blocked()).toBe('counting')
    expect(await nextStep()).toBe(true)
    expect(state().step).toBe('classes')
  })

  it('goes on where it was left, and starts anew in another project', async () => {
    await nextStep()
    chooseLater({ categories: { circle: { action: 'skip' } } })
    useView.setState({ dialog: null })
    pauseImport()
    await openImport()
    await resumeImport()
    expect(state()).toMatchObject({ step: 'check', path: FILE, plan: { categories: [{ action: 'skip' }] } })
    useRecords.setState(({ project }) => ({ project: { ...project!, path: '/other.gromatic' } }))
    await openImport()
    expect(state()).toMatchObject({ step: 'source', path: '', projectPath: '/other.gromatic' })
  })
})
