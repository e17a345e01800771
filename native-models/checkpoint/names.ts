const alias = /^(perceiver\.ddetr_transformer\.)decoder\.((?:bbox_embed|class_embed_[a-z0-9]+)\.)/

/**
 * One name per tensor. The detector's heads hang in two places of the authors' module tree: `.bin` files name both,
 * safetensors files keep only the names with `decoder.`; ours is the one without.
 */
export function canonicalTensorName(name: string): string {
  return name.replace(alias, '$1$2')
}
