/** `models convert | verify | test | list`. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { ProviderName, type WantedProvider } from '../contract/engineProtocol.ts'
import { AppError } from '../contract/errors.ts'
import { type Context, withServices } from './context.ts'
import { bytesText } from './output.ts'

interface ConvertOptions {
  out: string
  llm: 'fp32' | 'fp16' | 'int8' | 'int4'
  vision: 'fp32' | 'int8'
}

export function addModelCommands(program: Command): void {
  const models = program.command('models').description('convert, check and list models')

  models
    .command('convert')
    .argument('<checkpoint>', 'the folder of a released checkpoint (.bin shards or safetensors)')
    .requiredOption('--out <dir>', 'the engine folder to make')
    .addOption(
      new Option('--llm <precision>', 'weights of the language model: int4 is the smallest, fp16 is for graphics cards')
        .choices(['fp32', 'fp16', 'int8', 'int4'])
        .default('fp32'),
    )
    .addOption(
      new Option('--vision <precision>', 'weights of the vision encoder').choices(['fp32', 'int8']).default('fp32'),
    )
    .description('a released checkpoint becomes an engine folder')
    .addHelpText(
      'after',
      `
Stopped or killed, it goes on where it was when started again with the same checkpoint, precision and --out.

Example:
  gromatic models convert ~/groma-7b-finetune --out ~/groma-engine --llm int4`,
    )
    .action((checkpoint: string, options: ConvertOptions, command: Command) =>
      withServices(command, (context) => convert(context, checkpoint, options)),
    )

  models
    .command('verify')
    .argument('<dir>', 'an engine folder')
    .description('hashes and shapes of a converted model')
    .addHelpText('after', '\nExample:\n  gromatic models verify ~/groma-engine')
    .action((dir: string, _options: object, command: Command) =>
      withServices(command, (context) => verify(context, dir)),
    )

  models
    .command('test')
    .argument('<model>', 'an engine folder, an installed model, or demo')
    .addOption(
      new Option('--provider <name>', 'what to run on, wherever it works').choices(['auto', ...ProviderName.options]),
    )
    .description('which provider runs a model on this machine, how fast, and why not the others')
    .addHelpText('after', '\nExample:\n  gromatic models test ~/groma-engine --json')
    .action((model: string, options: { provider?: WantedProvider }, command: Command) =>
      withServices(command, (context) => test(context, model, options)),
    )

  models
    .command('list')
    .description('the demo model and the installed ones')
    .addHelpText('after', '\nExample:\n  gromatic models list --json')
    .action((_options: object, command: Command) => withServices(command, list))
}

async function convert({ services, progress, signal, print }: Context, checkpoint: string, options: ConvertOptions) {
  const { llm, vision, out } = options
  const result = await services.client.run(
    'models.convert',
    { checkpoint: resolve(checkpoint), out: resolve(out), llm, vision },
    { onProgress: (at) => progress.show(at), signal },
  )
  print(result, `${result.path}: ${bytesText(result.bytes)}, model ${result.modelHash.slice(0, 12)}`)
}

async function verify({ services, progress, signal, print }: Context, dir: string) {
  const result = await services.client.run(
    'models.verify',
    { path: dir },
    { onProgress: (at) => progress.show(at), signal },
  )
  print(result, result.ok ? `${dir}: all is as it should be, model ${result.modelHash?.slice(0, 12)}` : '')
  if (!result.ok) throw new AppError('MODEL_INVALID', `${dir}: ${result.problems.join('; ')}`)
}

async function test(
  { services, progress, signal, print }: Context,
  model: string,
  { provider }: { provider?: WantedProvider },
) {
  const path = existsSync(model) ? resolve(model) : model
  const result = await services.client.run(
    'models.test',
    { path, ...(provider === undefined ? {} : { provider }) },
    { onProgress: (at) => progress.show(at), signal },
  )
  const { secondsPerImage, loadSeconds, threads, prepacked, providers } = result
  const seconds = (value: number) => `${value < 10 ? value.toPrecision(2) : Math.round(value)} s`
  const lines = [
    `runs on ${result.provider}${result.provider === 'cpu' ? `, ${threads} threads` : ''}: ${seconds(secondsPerImage)} from image to proposals`,
    `loaded in ${seconds(loadSeconds)}${prepacked ? ', with weights laid out for this machine' : ''}`,
    ...providers.map(({ provider, verdict, reason }) => `${provider}: ${verdict}; ${reason}`),
  ]
  print(result, lines.join('\n'))
}

async function list({ services, print }: Context) {
  const models = await services.client.call('models.list', {})
  const lines = models.map(({ name, path, bytes }) => `${name}\t${bytesText(bytes)}\t${path}`)
  print(models, lines.length === 0 ? 'No models are installed.' : lines.join('\n'))
}
