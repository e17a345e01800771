/** A page for when there is nothing else to show: what happened and what to do. */
import { Mark } from '../components/Mark.tsx'
import './pages.css'

export function Problem({ title, text }: { title: string; text: string }) {
  return (
    <main className="page">
      <div className="page-card">
        <Mark size={34} />
        <h1>{title}</h1>
        <p className="dim">{text}</p>
      </div>
    </main>
  )
}
