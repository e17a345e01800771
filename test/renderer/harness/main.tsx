/** The window over the fake client: `vite build --mode harness`. Options ride in the address: ?boxes=5000&images=20 */
import '@fontsource-variable/inter'
import { setClient } from '../../../renderer/client.ts'
import { start } from '../../../renderer/start.tsx'
import { createFakeClient } from '../fakeClient.ts'
import { withTransfer } from '../fakeTransfer.ts'

const query = new URLSearchParams(location.search)
const services = createFakeClient({
  images: Number(query.get('images') ?? 12),
  boxes: Number(query.get('boxes') ?? 0),
  closed: query.has('closed'),
  worked: !query.has('new'),
})
const file = { bad: 3, missing: 2, standing: 4, classes: ['circle', 'wheel', 'star'] }
const { client } = withTransfer(services, file, 60)
const theme = query.get('theme')
if (theme === 'light' || theme === 'dark') void client.call('settings.set', { theme })
if (query.get('lang') === 'zh') void client.call('settings.set', { language: 'zh' })
setClient(client)
start()
