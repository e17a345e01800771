/** One figure in a process of its own: `figureProcess.ts NAME [--quick]`; sends its records to whoever forked it. */
import { Missing, unmeasured } from './figure.ts'
import { figures, isFigureName } from './registry.ts'

const [name = ''] = process.argv.slice(2)
if (!isFigureName(name)) throw new Error(`no figure is called ${name}`)
const figure = await figures[name]()
const log = (line: string) => process.stderr.write(`${name}: ${line}\n`)

// Whoever waits for the records may go: what was started here then ends too.
process.on('disconnect', () => process.exit(130))
process.on('SIGTERM', () => process.exit(130))

const records = await figure.measure({ quick: process.argv.includes('--quick'), log }).catch((error: unknown) => {
  const missing = error instanceof Missing
  if (!missing) log(String((error as Error)?.stack ?? error))
  const note = missing ? error.message : `failed: ${(error as Error)?.message ?? error}`
  return figure.rows.map((row) => unmeasured(name, row, note))
})
process.send!(records, () => process.exit(0))
