-- Compiles Lua files to bytecode and writes them as a C file; src/embedded.h says what for.
--
--   luajit tools/embed.lua build/embedded.c lua/luapilot/init.lua lua/luapilot/job.lua ...
--
-- A file that begins with ---@meta is documentation for editors and stays out.

local out = table.remove(arg, 1)

local function fail(message)
  io.stderr:write("tools/embed.lua: ", message, "\n")
  os.exit(1)
end

local function slurp(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- The name in tracebacks is the path without the directory it happens to lie in.
local function compile(text, label)
  local chunk, message = loadstring(text, "@" .. label)
  if not chunk then fail(message) end
  return string.dump(chunk)                            -- not stripped: tracebacks need the lines
end

local modules = {}

for _, path in ipairs(arg) do
  local text  = slurp(path)
  local label = path:gsub("^lua/", "")
  if not text:find "^%-%-%-@meta" then
    local name = label:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
    table.insert(modules, { name = name, code = compile(text, label) })
  end
end

-- The command line's parser comes from the system, so that the program needs none where it runs.
local argparse = package.searchpath("argparse", package.path)
if not argparse then fail "argparse is missing: install the Debian package lua-argparse" end
table.insert(modules, { name = "argparse", code = compile(slurp(argparse), "argparse.lua") })

table.sort(modules, function(a, b) return a.name < b.name end)

-- String literals of octal escapes: gcc reads them an order of magnitude faster than lists of numbers.
-- Always three digits, or a digit that follows would join in.
local escaped = {}
for byte = 0, 255 do escaped[string.char(byte)] = ("\\%03o"):format(byte) end

local file = assert(io.open(out, "wb"))
file:write '/* Made by tools/embed.lua. */\n\n#include "embedded.h"\n\n'
file:write "const unsigned char embedded_code[] __attribute__((aligned(EMBEDDED_PAGE))) =\n"
for _, module in ipairs(modules) do
  for first = 1, #module.code, 64 do
    file:write('"', (module.code:sub(first, first + 63):gsub(".", escaped)), '"\n')
  end
end
file:write ";\n\nconst struct embedded_module embedded_modules[] = {\n"
local offset = 0
for _, module in ipairs(modules) do
  file:write(('  {"%s", %d, %d},\n'):format(module.name, offset, #module.code))
  offset = offset + #module.code
end
file:write(("};\n\nconst size_t embedded_count = %d;\nconst size_t embedded_size = %d;\n"):format(#modules, offset))
assert(file:close())
