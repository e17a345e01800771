/** `gromatic COMMAND …`: the same services as the window. */
import { Command, CommanderError } from 'commander'
import { AppError } from '../contract/errors.ts'
import { addAnnotateCommand } from './annotateCommand.ts'
import { addAskCommand } from './askCommand.ts'
import { addBenchCommand } from './benchCommand.ts'
import { addEvaluateCommand } from './evaluateCommand.ts'
import { addFormatsCommand } from './formatsCommand.ts'
import { addImportCommand } from './importCommand.ts'
import { addModelCommands } from './modelCommands.ts'
import { errorText, exitCodeOf } from './output.ts'
import { addProjectCommands } from './projectCommands.ts'
import { addServeCommand } from './serveCommand.ts'
import { addStatsCommand } from './statsCommand.ts'
import { addTraceCommand } from './traceCommand.ts'

function buildProgram(): Command {
  const program = new Command('gromatic')
    .description('Regions, captions and COCO from a folder of images, with a Groma model on this machine.')
    .option('--json', 'print one JSON value and nothing else')
    .option('--verbose', 'show the stack of an error, and what the engine logs')
    .exitOverride()
    .configureOutput({ writeErr: () => {} }) // errors are printed once, in our own words
    .showHelpAfterError(false)
    .addHelpText(
      'after',
      `
Examples:
  gromatic annotate photos --out coco.json
  gromatic ask photo.jpg "What is left of the cup?"
  gromatic serve --project photos.gromatic

Boxes are pixels of the upright image, x,y,w,h, unless a command says otherwise.
--model is "demo" (the model inside), the folder of a converted model, or an installed model's name.`,
    )
  addModelCommands(program)
  addTraceCommand(program)
  addAskCommand(program)
  addAnnotateCommand(program)
  addProjectCommands(program)
  addImportCommand(program)
  addFormatsCommand(program)
  addEvaluateCommand(program)
  addStatsCommand(program)
  addServeCommand(program)
  addBenchCommand(program)
  for (const command of program.commands) inherit(command)
  return program
}

/** Every command takes the common options on either side of its name, and fails in the same way. */
function inherit(command: Command): void {
  command
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .option('--json', 'print one JSON value and nothing else')
    .option('--verbose', 'show the stack of an error, and what the engine logs')
  for (const inner of command.commands) inherit(inner)
}

/** Runs one command line. Resolves to the exit code. */
export async function main(args: string[]): Promise<number> {
  const verbose = args.includes('--verbose')
  try {
    const program = buildProgram()
    if (args.length === 0) {
      program.outputHelp()
      return 0
    }
    await program.parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0 // --help, --version
    const told =
      error instanceof CommanderError
        ? new AppError(
            'USAGE',
            `${error.message.replace(/^error: /, '').replace(/\(outputHelp\)/, 'a command is missing; see --help')}`,
          )
        : error
    process.stderr.write(errorText(told, verbose))
    return exitCodeOf(told)
  }
}

// A reader that goes away (`gromatic … | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
})
process.exitCode = await main(process.argv.slice(2))
