import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runCli } from '../cli.ts'
import { type Figure, measured, type Row } from '../figure.ts'
import { brief, interleaved, seconds, spreadText } from '../measure.ts'
import { sceneFolder } from '../picture.ts'
import { cacheDir } from '../places.ts'

const row: Row = {
  case: '',
  unit: 'images/s',
  referenceName: 'one image at a time',
  ratio: 'value/reference',
  goal: { of: 'ratio', at: '>=', limit: 1.6 },
}

export const throughput: Figure = {
  work: '`annotate` over 200 images, demo model, proposals and captions',
  rows: [row],
  async measure({ quick, log }) {
    const [rounds, count] = quick ? [1, 60] : [2, 200]
    const warm = await sceneFolder(0, 1)
    await annotate(warm, []) // the first run converts the demo model
    const folders = await Promise.all(Array.from({ length: rounds }, (_, k) => sceneFolder(1 + k * count, count)))
    log(`${count} images a run, ${rounds} runs each in turns`)
    const written: { ours: string[]; theirs: string[] } = { ours: [], theirs: [] }
    const speedOf = (side: 'ours' | 'theirs', options: string[]) => async (round: number) => {
      const took = await seconds(async () => written[side].push(await annotate(folders[round]!, options)))
      log(`${side === 'ours' ? 'side by side' : 'one by one'}: ${brief(count / took)} images/s`)
      return count / took
    }
    const { ours, theirs } = await interleaved(rounds, speedOf('ours', []), speedOf('theirs', ['--workers', '0']))
    for (const folder of [warm, ...folders]) rmSync(folder, { recursive: true })
    if (written.ours.join() !== written.theirs.join()) throw new Error('the two ways gave different annotations')
    const note = `start of the program included, the same annotations both ways; ${spreadText(ours)} beside ${spreadText(theirs)}; ${count} images a run`
    return [measured('throughput', row, { value: ours.median, reference: theirs.median, note })]
  },
}

/** Runs the command over a folder. Resolves to the images and annotations that it wrote, as text. */
async function annotate(folder: string, options: string[]): Promise<string> {
  const out = join(cacheDir(), 'throughput.json')
  await runCli(['annotate', folder, '--out', out, '--overwrite', ...options])
  const { images, annotations, categories } = JSON.parse(readFileSync(out, 'utf8'))
  rmSync(out)
  return JSON.stringify({ images, annotations, categories })
}
