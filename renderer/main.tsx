/** The window's first lines: find the services, then show. */
import { z } from 'zod'
import '@fontsource-variable/inter'
import { setClient } from './client.ts'
import { connect } from './connect.ts'
import { showNoToken, start } from './start.tsx'

// zod compiles schemas with `new Function` where it can; our content security policy forbids that, and trying is logged
z.config({ jitless: true })

const client = connect()
if (client === null) showNoToken()
else {
  setClient(client)
  start()
}
