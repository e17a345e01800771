/** `evaluate`: the paper's measures on a model and a data set; `evaluate work`: the model against what people decided. */
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { AppError } from '../contract/errors.ts'
import { EVALUATION_FORMATS, type EvaluationFormat, readEvaluationData } from '../services/evaluation/data.ts'
import { EVALUATION_NAMES, type EvaluationName, runEvaluation } from '../services/evaluation/evaluation.ts'
import type { EvaluationOptions } from '../services/evaluation/evaluationTypes.ts'
import { measureText, reportJson, writeReport } from '../services/evaluation/report.ts'
import { sample } from '../services/evaluation/seeded.ts'
import { workReport, workText } from '../services/evaluation/work.ts'
import { integerIn } from './arguments.ts'
import { type Context, loadModel, withServices } from './context.ts'

interface EvaluateOptions {
  data: string
  format: EvaluationFormat
  images?: string
  split?: string
  model: string
  out?: string
  limit?: number
  seed: number
  resize: EvaluationOptions['resize']
  boxes: EvaluationOptions['boxes']
  detail: EvaluationOptions['detail']
  absent?: number
}

const WHAT: Record<EvaluationName, string> = {
  proposals: 'recall and AR@k per area of the proposals, as pycocotools counts',
  refer: 'one box for a referring expression: accuracy at IoU 0.5, mean IoU',
  'ground-all': 'every box of a class: AP, AR, precision and recall (LVIS-Ground)',
  captions: 'captions of boxes: exact match, METEOR-like, CIDEr-D',
  descriptions: 'grounded descriptions: objects mentioned with the right box, wrong pairs',
}
const MAX = Number.MAX_SAFE_INTEGER

export function addEvaluateCommand(program: Command): void {
  const evaluate = program
    .command('evaluate')
    .description('measures of a model on a labelled data set, or of the model against what people decided')
    .addHelpText(
      'after',
      `
Examples:
  gromatic evaluate refer --data scenes --out report
  gromatic evaluate proposals --model ~/groma-7b --data instances_val2017.json --images val2017 --format coco --resize opencv
  gromatic evaluate captions --data scenes --boxes drawn
  gromatic evaluate work --project photos.gromatic`,
    )
  for (const name of EVALUATION_NAMES) {
    const command = evaluate
      .command(name)
      .description(WHAT[name])
      .requiredOption('--data <path>', 'the annotations, or the folder that holds them')
      .addOption(
        new Option('--format <format>', 'how they are written').choices(EVALUATION_FORMATS).default('synthetic'),
      )
      .option('--images <dir>', 'where the pictures lie; default: beside the annotations')
      .option('--split <name>', 'ask only about this part of the data: RefCOCO’s val, testA, testB')
      .option('--model <model>', 'demo, an engine folder, or an installed name', 'demo')
      .option('--out <dir>', 'write the report here, and go on there after a stop')
      .option('--limit <n>', 'measure on so many images, drawn by --seed', integerIn(1, MAX))
      .option('--seed <n>', 'of every draw', integerIn(0, MAX), 0)
      .addOption(
        new Option(
          '--resize <how>',
          'to the model’s square: pillow as the release’s demo, opencv as the paper’s tables',
        )
          .choices(['pillow', 'opencv'])
          .default('pillow'),
      )
    if (name === 'captions') {
      command
        .addOption(
          new Option('--boxes <which>', 'what is described; drawn: the true boxes, each side off by up to a tenth')
            .choices(['truth', 'drawn', 'proposed'])
            .default('truth'),
        )
        .addOption(new Option('--detail <detail>', 'short or long').choices(['brief', 'detailed']).default('brief'))
    }
    if (name === 'refer' || name === 'ground-all') {
      command.option(
        '--absent <n>',
        'also ask for so many things an image that are not in it, where the data tell (default: 2 for synthetic, else 0)',
        integerIn(0, 100),
      )
    }
    command
      .addHelpText('after', `\nExample:\n  gromatic evaluate ${name} --data native-models/demo/samples --out report`)
      .action((options: EvaluateOptions, command: Command) =>
        withServices(command, (context) => evaluateData(context, name, options)),
      )
  }
  evaluate
    .command('work')
    .description('the model against people: what became of its proposals')
    .requiredOption('--project <file>', 'a project')
    .addHelpText('after', '\nExample:\n  gromatic evaluate work --project photos.gromatic --json')
    .action((options: { project: string }, command: Command) =>
      withServices(command, async ({ print }) => {
        const report = workReport(resolve(options.project))
        print(report, workText(report))
      }),
    )
}

async function evaluateData(context: Context, name: EvaluationName, given: EvaluateOptions): Promise<void> {
  const { services, signal, progress, print } = context
  const options: EvaluationOptions = {
    resize: given.resize,
    boxes: given.boxes ?? 'truth',
    detail: given.detail ?? 'brief',
    absent: given.absent ?? (given.format === 'synthetic' ? 2 : 0),
    seed: given.seed,
  }
  const { images, problems } = await readEvaluationData({
    path: given.data,
    format: given.format,
    imagesDir: given.images,
    split: given.split,
    signal,
  })
  if (problems.count > 0)
    progress.note(`${problems.count} rows of ${given.data} could not be taken; the first: ${problems.first}`)
  await loadModel(context, given.model)
  const info = services.engine.info()
  if (info === null) throw new AppError('ENGINE_FAULT', 'No model is loaded.')
  const result = await runEvaluation(
    services.engine,
    {
      name,
      images: given.limit === undefined ? images : sample(images, given.limit, given.seed, 'images'),
      options,
      keepIn: given.out === undefined ? null : resolve(given.out),
    },
    { signal, onProgress: (at) => progress.show(at) },
  )
  for (const { fileName, reason } of result.skipped) progress.note(`skipped ${fileName}: ${reason}`)
  const about = {
    evaluation: name,
    name: options.boxes === 'truth' ? name : `${name}-${options.boxes}`,
    model: { name: services.engine.state().modelName, hash: info.modelHash },
    data: { path: resolve(given.data), format: given.format },
    options: {
      ...optionsOf(name, options),
      ...(given.split === undefined ? {} : { split: given.split }),
      ...(given.limit === undefined ? {} : { limit: given.limit }),
    },
  }
  const written = given.out === undefined ? null : await writeReport(resolve(given.out), about, result)
  const widest = Math.max(...result.measures.map(({ label }) => label.length))
  print(
    { ...reportJson(about, result), ...(written === null ? {} : { report: written.markdown }) },
    [
      `${result.images} images, ${result.questions} questions, ${result.seconds.toFixed(1)} s`,
      ...result.measures.map((measure) => `${measure.label.padEnd(widest)}  ${measureText(measure)}`),
      ...(written === null ? [] : [written.markdown]),
    ].join('\n'),
  )
}

/** The options that mattered. */
function optionsOf(name: EvaluationName, { resize, boxes, detail, absent, seed }: EvaluationOptions) {
  if (name === 'captions') return { resize, boxes, detail, ...(boxes === 'drawn' ? { seed } : {}) }
  return name === 'refer' || name === 'ground-all' ? { resize, absent, seed } : { resize }
}
