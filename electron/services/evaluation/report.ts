/** An evaluation as files: JSON for programs, Markdown with plots and the worst cases for people. */
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Xywh } from '../../../native-models/metrics/detection.ts'
import { pictureWithOverlay } from '../pixels.ts'
import type { EvaluationResult } from './evaluation.ts'
import type { Measure, WorstCase } from './evaluationTypes.ts'

export interface ReportAbout {
  evaluation: string
  /** Of the files: evaluations that may stand side by side have different ones. */
  name: string
  model: { name: string; hash: string }
  data: { path: string; format: string }
  options: Readonly<Record<string, string | number>>
}

/** The JSON report. Measures that the data hold nothing for are null. */
export function reportJson(about: ReportAbout, result: EvaluationResult) {
  const { images, questions, resumed, seconds, skipped, measures } = result
  return {
    evaluation: about.evaluation,
    model: about.model,
    data: about.data,
    options: about.options,
    images,
    questions,
    resumed,
    seconds: Math.round(seconds * 10) / 10,
    measures: Object.fromEntries(measures.map(({ key, value }) => [key, value])),
    worst: result.worst.map(({ image, text, truth, predicted }) => ({
      fileName: image.fileName,
      text,
      truth,
      predicted,
    })),
    skipped,
  }
}

/** A number as it stands in a table. */
export function measureText({ value, unit }: Measure): string {
  if (value === null) return '-'
  return unit === 'count' ? String(value) : value.toFixed(unit === 'share' ? 4 : 3)
}

/**
 * Writes `NAME.json`, `NAME.md`, and its pictures into a folder, each file whole or not at all; pictures of an earlier
 * report are replaced. Returns the paths of the first two.
 * @throws DISK_FULL, IO_FAILED
 */
export async function writeReport(
  dir: string,
  about: ReportAbout,
  result: EvaluationResult,
): Promise<{ json: string; markdown: string }> {
  const { name } = about
  await mkdir(join(dir, name), { recursive: true })
  for (const old of await readdir(join(dir, name))) {
    if (/^worst-\d+\.jpg$/.test(old)) await rm(join(dir, name, old), { force: true })
  }
  const pictures: string[] = []
  for (const plot of result.plots) {
    const file = `${name}/${plot.name}.svg`
    await writeWhole(join(dir, file), plot.svg)
    pictures.push(`![${plot.title}](${file})`)
  }
  const cases: string[] = []
  for (const [i, worst] of result.worst.entries()) {
    const file = `${name}/worst-${String(i + 1).padStart(2, '0')}.jpg`
    await writeWhole(join(dir, file), await drawCase(worst))
    cases.push(`${i + 1}. ${plain(worst.image.fileName)}: ${plain(worst.text)}\n\n   ![](${file})`)
  }
  const json = join(dir, `${name}.json`)
  const markdown = join(dir, `${name}.md`)
  await writeWhole(json, `${JSON.stringify(reportJson(about, result), null, 1)}\n`)
  await writeWhole(markdown, markdownOf(about, result, pictures, cases))
  return { json, markdown }
}

function markdownOf(
  about: ReportAbout,
  result: EvaluationResult,
  pictures: readonly string[],
  cases: readonly string[],
): string {
  const { images, questions, seconds, resumed, skipped, measures } = result
  const options = Object.entries(about.options).map(([key, value]) => `${key} ${value}`)
  const left = skipped.length === 0 ? '' : `, ${skipped.length} images skipped`
  const taken = resumed === 0 ? '' : `, ${resumed} images taken over from an earlier run`
  return `${[
    `# ${about.name}`,
    `Model ${plain(about.model.name)} (\`${about.model.hash.slice(0, 12)}\`) on ${plain(basename(about.data.path))} (${about.data.format}): ${images} images, ${questions} questions, ${seconds.toFixed(1)} s${taken}${left}.`,
    ...(options.length === 0 ? [] : [`Options: ${options.join(', ')}.`]),
    `| measure | value |\n| --- | --- |\n${measures.map((measure) => `| ${measure.label} | ${measureText(measure)} |`).join('\n')}`,
    ...pictures,
    ...(cases.length === 0
      ? []
      : ['## Worst cases', 'Green: what is right. Red, dashed: what the model gave.', ...cases]),
    ...(skipped.length === 0
      ? []
      : ['## Skipped', skipped.map(({ fileName, reason }) => `- ${plain(fileName)}: ${plain(reason)}`).join('\n')]),
  ].join('\n\n')}\n`
}

/** Text of data in Markdown: nothing in it is markup. */
const plain = (text: string) => text.replace(/\s+/g, ' ').replace(/[\\`*_[\]<>|#!]/g, '\\$&')

const CASE_SIDE = 640

function drawCase({ image, truth, predicted }: WorstCase): Promise<Buffer> {
  return pictureWithOverlay(image.path, CASE_SIDE, ({ width, height }) => {
    const rect = ([x, y, w, h]: Xywh, style: string) =>
      `<rect x="${(x / image.width) * width}" y="${(y / image.height) * height}" width="${(w / image.width) * width}" height="${(h / image.height) * height}" fill="none" ${style}/>`
    const both = (box: Xywh, colour: string, dash: string) =>
      rect(box, 'stroke="#ffffff" stroke-width="5" stroke-opacity="0.7"') +
      rect(box, `stroke="${colour}" stroke-width="3" ${dash}`)
    return (
      truth.map((box) => both(box, '#12813a', '')).join('') +
      predicted.map((box) => both(box, '#c5221f', 'stroke-dasharray="10 6"')).join('')
    )
  })
}

async function writeWhole(path: string, content: string | Buffer): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`)
  try {
    await writeFile(temporary, content)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}
