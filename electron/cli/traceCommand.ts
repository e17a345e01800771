/** `trace`: one question as the engine saw it, to be compared with the authors' code. Boxes are cx,cy,w,h in 0..1 here. */
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { integerIn, parseBox, type Quadruple } from './arguments.ts'
import { loadModel, withServices } from './context.ts'

interface TraceOptions {
  model: string
  query: string
  box?: Quadruple[]
  order: 'score' | 'reverse'
  maxNewTokens: number
  out: string
  tensors?: string
  allTensors?: boolean
}

export function addTraceCommand(program: Command): void {
  program
    .command('trace')
    .argument('<image>', 'an image file')
    .requiredOption('--query <text>', 'the query as the authors write it; special tokens in it are special')
    .requiredOption('--out <case.json>', 'where ids, boxes, scores and logits go')
    .option('--model <model>', 'demo, an engine folder, or an installed name', 'demo')
    .option('--box <cx,cy,w,h>', 'a user’s box, fractions of the image; may be given several times', parseBox)
    .addOption(new Option('--order <order>', 'order of the regions').choices(['score', 'reverse']).default('score'))
    .option('--max-new-tokens <n>', 'tokens to make at most', integerIn(1, 4096), 24)
    .option('--tensors <case.safetensors>', 'where tensors go, float32')
    .option('--all-tensors', 'the pixels and every hidden state as well')
    .description('one question as the engine saw it: ids, boxes, scores, logits')
    .addHelpText(
      'after',
      '\nExample:\n  gromatic trace photo.png --model ~/groma-engine --query "Locate <p>a dog</p> in the image." --out case.json',
    )
    .action((image: string, options: TraceOptions, command: Command) =>
      withServices(command, async (context) => {
        const { services, signal, progress, print } = context
        await loadModel(context, options.model)
        const path = resolve(image)
        const outPath = resolve(options.out)
        const tensorsPath = options.tensors === undefined ? null : resolve(options.tensors)
        await services.engine.run(
          {
            kind: 'trace',
            image: { path, key: path },
            query: options.query,
            boxesCxcywh: options.box ?? [],
            order: options.order,
            maxNewTokens: options.maxNewTokens,
            outPath,
            tensorsPath,
            allTensors: options.allTensors ?? false,
          },
          {
            signal,
            onProgress: (event) =>
              event.kind === 'step' && progress.show({ done: 0, total: null, note: event.note || 'Tracing' }),
          },
        )
        print({ out: outPath, tensors: tensorsPath }, tensorsPath === null ? outPath : `${outPath}\n${tensorsPath}`)
      }),
    )
}
