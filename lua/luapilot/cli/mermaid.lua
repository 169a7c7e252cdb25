-- mermaid: a diagram as a Mermaid flowchart, which GitHub and GitLab show by themselves.

local mermaid = {}

-- By kind: around the quoted label.
local SHAPES = { job = { "[", "]" }, source = { "([", "])" }, group = { "{{", "}}" } }
local MAIN = { "[[", "]]" }

local ESCAPES = { ['"'] = "#quot;", ["#"] = "#35;", ["<"] = "#lt;", [">"] = "#gt;", ["&"] = "#amp;", ["`"] = "#96;" }

local function escaped(text) return (text:gsub('["#<>&`]', ESCAPES)) end

local function node_line(node)
  local lines = {}
  for i, line in ipairs(node.lines) do lines[i] = escaped(line) end
  local shape = node.main and MAIN or SHAPES[node.kind]
  return ('  %s%s"%s"%s'):format(node.id, shape[1], table.concat(lines, "<br/>"), shape[2])
end

local function edge_line(edge)
  local arrow = edge.dashed and "-.->" or "-->"
  local label = edge.label and ('|"%s"|'):format(escaped(edge.label)) or ""
  return ("  %s %s%s %s"):format(edge.from, arrow, label, edge.to)
end

---@param diagram luapilot.Diagram
---@return string
function mermaid.draw(diagram)
  local lines = { "flowchart LR" }
  for _, node in ipairs(diagram.nodes) do lines[#lines + 1] = node_line(node) end
  for _, edge in ipairs(diagram.edges) do lines[#lines + 1] = edge_line(edge) end
  lines[#lines + 1] = "%% " .. diagram.footer
  return table.concat(lines, "\n") .. "\n"
end

return mermaid
