/** Files held over the window and let go: a data set is imported, a project or (with nothing open) a folder is opened. */
import i18n from '../i18n/index.ts'
import { useRecords } from '../stores/records.ts'
import { useView } from '../stores/view.ts'
import { notify } from '../stores/work.ts'
import { openImport } from './import.ts'
import { openFolder, openProject, shell } from './project.ts'

const holdsFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') === true
const busy = (): boolean => useView.getState().dialog !== null

/** What one file means: only the desktop's shell tells where it lies. */
async function take(name: string, path: string | null): Promise<void> {
  const opened = Boolean(useRecords.getState().project)
  if (path !== null && (path.endsWith('.gromatic') || !opened)) {
    const problem = path.endsWith('.gromatic') ? await openProject(path) : await openFolder(path)
    if (problem !== null) notify('error', problem)
  } else if (opened) await openImport(path === null ? { dropped: name } : { path })
  else notify('info', i18n.t('transfer.dropNoProject'))
}

/** Starts listening. A drop never takes the browser to the file, whatever is open. */
export function followDrops(): void {
  /** Entering a child comes before leaving its parent. */
  let depth = 0
  const show = (dropping: boolean) => {
    if (!dropping) depth = 0
    if (useView.getState().dropping !== dropping) useView.setState({ dropping })
  }
  window.addEventListener('dragenter', (event) => {
    if (!holdsFiles(event)) return
    depth++
    show(!busy())
  })
  window.addEventListener('dragleave', (event) => {
    if (holdsFiles(event) && --depth <= 0) show(false)
  })
  window.addEventListener('dragover', (event) => {
    if (!holdsFiles(event)) return
    event.preventDefault()
    if (event.dataTransfer !== null) event.dataTransfer.dropEffect = busy() ? 'none' : 'copy'
  })
  window.addEventListener('drop', (event) => {
    if (!holdsFiles(event)) return
    event.preventDefault()
    show(false)
    const files = [...(event.dataTransfer?.files ?? [])]
    const [file] = files
    if (file === undefined || busy()) return
    if (files.length > 1) notify('info', i18n.t('transfer.dropSeveral', { name: file.name }))
    void take(file.name, shell()?.pathOf(file) || null)
  })
}
