import type { FigureRecord } from './figure.ts'
import { brief } from './measure.ts'

/** Records as a Markdown table, which a terminal shows as well as a README. */
export function tableText(records: readonly FigureRecord[]): string {
  const title = ['figure', 'value', 'reference', 'ratio', 'goal', 'met', 'note']
  const rows = records.map((record) => {
    const amount = (value: number | null) => (value === null ? '-' : `${brief(value)} ${record.unit}`)
    return [
      `\`${record.name}\`${record.case === '' ? '' : ` ${record.case}`}`,
      amount(record.value),
      record.reference === null ? record.referenceName : `${amount(record.reference)} (${record.referenceName})`,
      record.ratio === null ? '' : `${brief(record.ratio)}x`,
      record.goal,
      record.met === null ? '' : record.met ? 'yes' : 'no',
      record.note,
    ]
  })
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`
  return line(title) + line(title.map(() => '---')) + rows.map(line).join('')
}
