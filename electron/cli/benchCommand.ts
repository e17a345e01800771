/** `bench`: our figures, each beside its reference on the same machine in the same run. It lives beside the tests, in a clone. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Argument, type Command } from 'commander'
import { AppError } from '../contract/errors.ts'
import type { CommonOptions } from './context.ts'

const ENTRY = fileURLToPath(new URL('../../test/bench/main.ts', import.meta.url))

/** What the bench can measure; `test/bench/registry.ts` has the same names. */
export const FIGURES = [
  'decode',
  'prefill',
  'perceive',
  'second-question',
  'captions-20',
  'convert',
  'resident',
  'ready',
  'throughput',
  'precision',
  'data',
  'gpu',
] as const

export function addBenchCommand(program: Command): void {
  program
    .command('bench')
    .addArgument(new Argument('[name...]', 'which figures; all of them when none is named').choices(FIGURES))
    .option('--quick', 'few repetitions')
    .description("this machine's figures, each beside its reference in the same run")
    .addHelpText(
      'after',
      `
Large ones want a model of the release's shapes: GROMATIC_BENCH_MODEL names an int4 engine folder, GROMATIC_BENCH_CHECKPOINT
a checkpoint; else both are made in GROMATIC_BENCH_CACHE (20 GB; not with --quick). GROMATIC_PYTHON names a Python with torch.
A goal that is not met is no failure; what cannot run here has no value, and a note that says what is missing.

Examples:
  gromatic bench throughput ready --quick
  gromatic bench --json > figures.json`,
    )
    .action((names: string[], options: { quick?: boolean }, command: Command) =>
      bench(names, { ...options, ...command.optsWithGlobals<CommonOptions>() }),
    )
}

/** Hands over to the bench's own process and takes its exit code. @throws NOT_FOUND in a package, CANCELLED */
async function bench(names: string[], { quick, json }: CommonOptions & { quick?: boolean }): Promise<void> {
  if (!existsSync(ENTRY)) throw new AppError('NOT_FOUND', 'bench measures a clone; a package does not hold it.')
  const args = [ENTRY, ...names, ...(quick ? ['--quick'] : []), ...(json ? ['--json'] : [])]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  const pass = (signal: NodeJS.Signals) => child.kill(signal)
  process.on('SIGINT', pass).on('SIGTERM', pass)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', resolve)
  })
  process.off('SIGINT', pass).off('SIGTERM', pass)
  if (code !== 0) throw new AppError('CANCELLED', 'The bench was stopped.')
}
