/** `ask`: questions about one image, without a project. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { EngineAnswer } from '../contract/engineProtocol.ts'
import { AppError } from '../contract/errors.ts'
import { answerContent } from '../services/answers.ts'
import { type BboxXywh, toModelInside } from '../services/boxes.ts'
import { probeImage } from '../services/pixels.ts'
import { parseBox, type Quadruple } from './arguments.ts'
import { loadModel, withServices } from './context.ts'

interface AskOptions {
  model: string
  box?: Quadruple[]
  plain?: boolean
}

export function addAskCommand(program: Command): void {
  program
    .command('ask')
    .argument('<image>', 'an image file')
    .argument('<question...>', 'what to ask; several are answered one after the other')
    .option('--model <model>', 'demo, an engine folder, or an installed name', 'demo')
    .option('--box <x,y,w,h>', 'a box that the question is about, in pixels; may be given several times', parseBox)
    .option('--plain', 'an answer in words alone, without boxes')
    .description('grounded answers about an image: one with --json is an object, several are a list of them')
    .addHelpText(
      'after',
      '\nExamples:\n  gromatic ask kitchen.jpg "What is on the table?" --json\n' +
        '  gromatic ask kitchen.jpg "What is on the table?" "How many cups are there?" --verbose',
    )
    .action((image: string, questions: string[], options: AskOptions, command: Command) =>
      withServices(command, async (context) => {
        const { services, signal, progress, print } = context
        if (questions.some((question) => question.trim() === '')) throw new AppError('USAGE', 'The question is empty.')
        const path = resolve(image)
        const size = await readSize(path)
        const boxes = (options.box ?? []).map((box) => toModelInside(box, { ...size, fileName: image }))
        await loadModel(context, options.model)
        const answers: Answer[] = []
        for (const question of questions) {
          const answer = await services.engine.run(
            { kind: 'ask', image: { path, key: path }, question, grounded: !options.plain, boxesCxcywh: boxes },
            {
              signal,
              onProgress: (event) => event.kind === 'text' && progress.show({ done: 0, total: null, note: event.text }),
            },
          )
          answers.push(answerValue(answer, size))
        }
        const [only] = answers
        const texts = answers.map(textOf)
        if (answers.length === 1) return print(only, texts[0]!)
        print(answers, texts.map((text, i) => `${questions[i]}\n${text}`).join('\n\n'))
      }),
    )
}

type Answer = ReturnType<typeof answerValue>

/** An answer as scripts get it. */
function answerValue(answer: EngineAnswer, size: { width: number; height: number }) {
  const { text, spans, regions } = answerContent(answer, size)
  return {
    text,
    spans: spans.map((span) => ({
      text: span.text,
      start: span.start,
      end: span.end,
      boxes: span.boxes.map(({ bboxXywh, score }) => named(bboxXywh, score)),
    })),
    regions: regions.map(({ bboxXywh, score }) => named(bboxXywh, score)),
  }
}

/** An answer as people read it. */
function textOf({ text, spans }: Answer): string {
  const lines = spans.flatMap((span) =>
    span.boxes.map(({ x, y, w, h, score }) => {
      const pixels = [x, y, w, h].map((value) => Math.round(value)).join(',')
      return `  ${span.text === '' ? '(region)' : span.text}: ${pixels} (${score.toFixed(2)})`
    }),
  )
  return [text, ...lines].join('\n')
}

const named = ([x, y, w, h]: BboxXywh, score: number) => ({ x, y, w, h, score })

/** Upright size; the error names the file. @throws NOT_FOUND, IMAGE_UNREADABLE */
export async function readSize(path: string): Promise<{ width: number; height: number }> {
  if (!existsSync(path)) throw new AppError('NOT_FOUND', `There is no file ${path}.`)
  try {
    return await probeImage(path)
  } catch (error) {
    throw new AppError('IMAGE_UNREADABLE', `${path}: ${(error as Error).message}`, { cause: error })
  }
}
