/** What a figure is: a measured value beside its reference of the same run, and whether it reaches its goal. */

/** One row of the table, and one entry of `bench --json`. */
export interface FigureRecord {
  /** The figure's name, as given on the command line. */
  name: string
  /** Which row of the figure, '' where there is one only. */
  case: string
  /** Null where it could not be measured; the note says why. */
  value: number | null
  unit: string
  reference: number | null
  referenceName: string
  /** How many times better than the reference (or, where the row says so, how many times as much). */
  ratio: number | null
  goal: string
  met: boolean | null
  note: string
}

/** What a row is about, known before anything is measured. */
export interface Row {
  case: string
  unit: string
  referenceName: string
  /** Rates and sizes: value / reference. Times that should be short: reference / value. */
  ratio: 'value/reference' | 'reference/value'
  goal: Goal | null
}

export interface Goal {
  of: 'value' | 'ratio'
  at: '>=' | '<='
  limit: number
}

export interface Measured {
  value: number
  reference?: number
  note?: string
}

export interface BenchContext {
  /** Few repetitions: to see that it works, and roughly how fast. */
  quick: boolean
  /** Tells what is being done, on stderr. */
  log: (line: string) => void
}

export interface Figure {
  /** What is measured, in one line of the help. */
  work: string
  rows: readonly Row[]
  /** @throws Missing where this machine lacks something that it needs */
  measure: (context: BenchContext) => Promise<FigureRecord[]>
}

/** Something that a figure needs is not there. The message says what, and how to get it. */
export class Missing extends Error {}

const goalText = ({ goal, unit }: Row): string =>
  goal === null ? '' : `${goal.at} ${goal.limit}${goal.of === 'ratio' ? 'x' : ` ${unit}`}`

/** A measured row of the figure `name`. */
export function measured(name: string, row: Row, { value, reference, note = '' }: Measured): FigureRecord {
  const times = reference === undefined ? null : row.ratio === 'value/reference' ? value / reference : reference / value
  const compared = row.goal?.of === 'ratio' ? times : value
  const met =
    row.goal === null || compared === null
      ? null
      : row.goal.at === '>='
        ? compared >= row.goal.limit
        : compared <= row.goal.limit
  const { unit, referenceName } = row
  return {
    name,
    case: row.case,
    value,
    unit,
    reference: reference ?? null,
    referenceName,
    ratio: times,
    goal: goalText(row),
    met,
    note,
  }
}

/** A row that could not be measured, and why. */
export function unmeasured(name: string, row: Row, note: string): FigureRecord {
  const { unit, referenceName } = row
  const nothing = { value: null, reference: null, ratio: null, met: null }
  return { name, case: row.case, ...nothing, unit, referenceName, goal: goalText(row), note }
}
