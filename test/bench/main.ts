/**
 * The figures of this machine: `node test/bench/main.ts [NAME ...] [--quick] [--json]`. The records go to stdout, as a
 * table or as JSON, everything else to stderr. Each figure runs in a process of its own, so that none finds another's
 * memory or caches.
 */
import { fork } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type FigureRecord, unmeasured } from './figure.ts'
import { machineText } from './machine.ts'
import { figures, isFigureName } from './registry.ts'
import { tableText } from './table.ts'

async function measureApart(name: keyof typeof figures, quick: boolean): Promise<FigureRecord[]> {
  const child = fork(join(import.meta.dirname, 'figureProcess.ts'), [name, ...(quick ? ['--quick'] : [])], {
    stdio: ['ignore', 2, 2, 'ipc'],
  })
  let records: FigureRecord[] | null = null
  child.on('message', (message: FigureRecord[]) => {
    records = message
  })
  const stop = () => child.kill()
  process.on('exit', stop)
  const ending = await new Promise<string>((resolve) =>
    child.on('exit', (code, signal) => resolve(signal ?? `exit code ${code}`)),
  )
  process.off('exit', stop)
  if (records !== null) return records
  const { rows } = await figures[name]()
  return rows.map((row) => unmeasured(name, row, `the measuring process ended (${ending}); see stderr`))
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } },
})
const unknown = positionals.filter((name) => !isFigureName(name))
if (unknown.length > 0) {
  process.stderr.write(
    `bench: no figure is called ${unknown.join(', ')}; there are ${Object.keys(figures).join(', ')}\n`,
  )
  process.exit(2)
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))
const names = positionals.length > 0 ? positionals.filter(isFigureName) : Object.keys(figures).filter(isFigureName)
const records: FigureRecord[] = []
for (const name of names) records.push(...(await measureApart(name, values.quick)))
process.stdout.write(values.json ? `${JSON.stringify(records)}\n` : `${machineText()}\n\n${tableText(records)}`)
