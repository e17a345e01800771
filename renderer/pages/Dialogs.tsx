/** The one open dialog, if any. A registry: a new dialog is a line here. */
import type { ComponentType } from 'react'
import { type DialogName, useView } from '../stores/view.ts'
import { ExportDialog } from './ExportDialog.tsx'
import { FolderDialog, ProjectDialog } from './FileDialog.tsx'
import { ImportDialog } from './import/ImportDialog.tsx'
import { KeysDialog } from './KeysDialog.tsx'
import { PaletteDialog } from './PaletteDialog.tsx'
import { SettingsDialog } from './SettingsDialog.tsx'
import { SkippedDialog } from './SkippedDialog.tsx'

const dialogs: Readonly<Record<DialogName, ComponentType>> = {
  folder: FolderDialog,
  project: ProjectDialog,
  import: ImportDialog,
  export: ExportDialog,
  keys: KeysDialog,
  palette: PaletteDialog,
  skipped: SkippedDialog,
  settings: SettingsDialog,
}

export function Dialogs() {
  const name = useView((view) => view.dialog)
  if (name === null) return null
  const Shown = dialogs[name]
  return <Shown key={name} />
}
