/** The window over the fake client: `vite build --mode harness`. Options ride in the address: ?boxes=5000&images=20 */
import '@fontsource-variable/inter'
import { setClient } from '../../../renderer/client.ts'
import { start } from '../../../renderer/start.tsx'
import { createFakeClient } from '../fakeClient.ts'

const query = new URLSearchParams(location.search)
const client = createFakeClient({
  images: Number(query.get('images') ?? 12),
  boxes: Number(query.get('boxes') ?? 0),
  closed: query.has('closed'),
  worked: !query.has('new'),
})
const theme = query.get('theme')
if (theme === 'light' || theme === 'dark') void client.call('settings.set', { theme })
if (query.get('lang') === 'zh') void client.call('settings.set', { language: 'zh' })
setClient(client)
start()
