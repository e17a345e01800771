/**
 * A process to be killed: `node committer.ts <project>`. Commits revision after revision and says so on stdout after
 * each commit has returned. Each revision draws two boxes of one caption: a half revision would show.
 */

import { writeSync } from 'node:fs'
import { openProject } from '../../db/project.ts'
import { diffOf } from '../../db/records/diff.ts'
import { annotationRow } from './drafts.ts'

const store = openProject(process.argv[2] ?? '')
if (store.readOnly) throw new Error('the lock of a dead process is held')
writeSync(1, 'ready\n')
for (;;) {
  const [a, b] = store.allocateIds('annotations', 2) as [number, number]
  const rows = [a, b].map((id) => ({ before: null, after: annotationRow(id, 1, { caption: `pair ${a}` }) }))
  const revision = store.commit({ actor: 'human', label: 'Draw', diff: diffOf({ annotations: rows }) })
  if (a % 5 === 0) store.undo()
  else writeSync(1, `${revision.seq} ${a} ${b}\n`)
}
