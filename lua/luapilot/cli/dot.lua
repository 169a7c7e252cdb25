-- dot: a diagram in the language of Graphviz.

local dot = {}

local SHAPES = {
  job = "shape=box, style=rounded", source = "shape=plaintext", group = "shape=diamond",
}
local MAIN = "shape=box, style=rounded, peripheries=2"

local function quoted(text) return '"' .. text:gsub('[\\"]', "\\%0") .. '"' end

local function node_line(node)
  local lines = {}
  for i, line in ipairs(node.lines) do lines[i] = quoted(line):sub(2, -2) end
  return ('  %s [label="%s", %s];'):format(node.id, table.concat(lines, "\\n"), node.main and MAIN or SHAPES[node.kind])
end

local function edge_line(edge)
  local attributes = {}
  if edge.label then attributes[#attributes + 1] = "label=" .. quoted(edge.label) end
  if edge.dashed then attributes[#attributes + 1] = "style=dashed" end
  local list = #attributes > 0 and " [" .. table.concat(attributes, ", ") .. "]" or ""
  return ("  %s -> %s%s;"):format(edge.from, edge.to, list)
end

---@param diagram luapilot.Diagram
---@return string
function dot.draw(diagram)
  local lines = { "digraph pilot {", "  rankdir=LR;" }
  for _, node in ipairs(diagram.nodes) do lines[#lines + 1] = node_line(node) end
  for _, edge in ipairs(diagram.edges) do lines[#lines + 1] = edge_line(edge) end
  lines[#lines + 1] = "}"
  lines[#lines + 1] = "// " .. diagram.footer
  return table.concat(lines, "\n") .. "\n"
end

return dot
