/** The real engine, asked something while it works in the background: what was done of that is not done again. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { childProcessStarter } from '../../electron/engine/childProcessStarter.ts'
import { EngineHost } from '../../electron/engine/engineHost.ts'
import { makeTinyModel } from '../native-models/builders/tinyModel.ts'
import { writePicture } from './support.ts'

let tiny: Awaited<ReturnType<typeof makeTinyModel>>
let root: string
beforeAll(async () => {
  tiny = await makeTinyModel()
  root = mkdtempSync(join(tmpdir(), 'gromatic-cut-off-'))
  await writePicture(join(root, 'picture.png'), 300, 60) // its captions end one after the other
})
afterAll(async () => {
  rmSync(root, { recursive: true, force: true })
  await tiny.remove()
})

it('goes on with the captions that were missing when a question came in between', async () => {
  const logs: string[] = []
  const host = new EngineHost({ starter: childProcessStarter(), onLog: (_, line) => logs.push(line) })
  host.load({ name: 'Tiny', modelDir: tiny.engine, checkpointDir: null, provider: 'cpu' })
  const image = { path: join(root, 'picture.png'), key: 'k' }
  const propose = { kind: 'propose' as const, image, captions: true }
  const ask = { kind: 'ask' as const, image, question: 'What?', grounded: true, boxesCxcywh: [] }
  const abreast = () => Number(/\((\d+) answers abreast\)/.exec(logs.findLast((line) => line.includes('abreast'))!)![1])
  const whole = await host.run(propose)
  expect(abreast()).toBe(whole.regions.length)

  // on a busy machine all captions may be done before the question arrives
  for (let tries = 0; abreast() === whole.regions.length && tries < 50; tries++) {
    let asked: Promise<unknown> | null = null
    const told: string[] = []
    const again = await host.run(propose, {
      priority: 'background',
      onProgress: (event) => {
        if (event.kind !== 'caption') return
        told[event.index] = event.text
        asked ??= host.run(ask)
      },
    })
    await asked
    expect(again.regions).toEqual(whole.regions)
    if (abreast() < whole.regions.length) expect(told).toEqual(whole.regions.map(({ caption }) => caption))
  }
  expect(abreast()).toBeLessThan(whole.regions.length)
  // nothing is left of it: the next one is a whole one
  await host.run(propose)
  expect(abreast()).toBe(whole.regions.length)
  host.close()
})
