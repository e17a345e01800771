/** The real engine, killed in the middle of an answer: whoever asked is told, and the next question is answered. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { EngineState } from '../../electron/contract/api.ts'
import { childProcessStarter } from '../../electron/engine/childProcessStarter.ts'
import type { EngineChild } from '../../electron/engine/engineChild.ts'
import { EngineHost } from '../../electron/engine/engineHost.ts'
import { makeTinyModel } from '../native-models/builders/tinyModel.ts'
import { times } from '../support/stress.ts'
import { codeOf, writePicture } from './support.ts'

let tiny: Awaited<ReturnType<typeof makeTinyModel>>
let root: string
beforeAll(async () => {
  tiny = await makeTinyModel()
  root = mkdtempSync(join(tmpdir(), 'gromatic-killed-'))
  await writePicture(join(root, 'picture.png'), 90, 60)
})
afterAll(async () => {
  rmSync(root, { recursive: true, force: true })
  await tiny.remove()
})

it('answers the next question after it was killed in the middle of one', async () => {
  let child: EngineChild | null = null
  const starter = childProcessStarter()
  const host = new EngineHost({ starter: () => (child = starter()), maxRestarts: 1_000 })
  const states: EngineState['status'][] = []
  host.onState(({ status }) => states.push(status))
  host.load({ name: 'Tiny', modelDir: tiny.engine, checkpointDir: null, provider: 'cpu' })
  const ask = {
    kind: 'ask' as const,
    image: { path: join(root, 'picture.png'), key: 'k' },
    question: 'What?',
    grounded: true,
    boxesCxcywh: [],
  }
  const expected = await host.run(ask)
  const waits: { toldMs: number; backMs: number }[] = []
  for (let i = 0; i < times(2, 100); i++) {
    states.length = 0
    let killedAt = 0
    const killed = codeOf(
      host.run(ask, {
        onProgress: ({ kind }) => {
          if (kind !== 'text' || killedAt > 0) return
          killedAt = performance.now()
          child!.kill()
        },
      }),
    )
    expect(await killed).toBe('ENGINE_CRASHED')
    const toldMs = performance.now() - killedAt
    const again = await host.run(ask)
    waits.push({ toldMs, backMs: performance.now() - killedAt })
    expect(again.outputIds).toEqual(expected.outputIds)
    expect(states).toEqual(expect.arrayContaining(['crashed', 'loading', 'ready', 'busy']))
  }
  const worst = (kind: 'toldMs' | 'backMs') => Math.round(Math.max(...waits.map((wait) => wait[kind])))
  console.log(
    `engine killed ${waits.length} times: told after at most ${worst('toldMs')} ms, answered after ${worst('backMs')} ms`,
  )
  host.close()
})
