/** A process to be killed: `node migratorProcess.ts <project>`. Says `ready`, brings the schema to a version 990, and waits. */
import { writeSync } from 'node:fs'
import { migrate } from '../../db/migrations/migrate.ts'
import { migrations } from '../../db/migrations/migrations.ts'
import { connect, hardenConnection, setDurable } from '../../db/sqlite.ts'

const path = process.argv[2] ?? ''
const db = connect(path)
hardenConnection(db)
setDurable(db)
writeSync(1, 'ready\n')
const columns = ['note', 'note2', 'note3'].map(
  (name) => `ALTER TABLE images ADD COLUMN ${name} TEXT; UPDATE images SET ${name} = hex(randomblob(200));`,
)
migrate(db, path, [...migrations, { version: 990, sql: columns.join('\n') }])
setInterval(() => undefined, 1000)
