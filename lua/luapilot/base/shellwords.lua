-- A command line as words: quotes and backslashes, no shell.
--
-- Owns the splitting of a string `exec` and the quoting of an argv in messages. Never runs anything and never
-- expands anything: what only a shell understands is an error that names the way out, because passing "|" or
-- "$HOME" to a program as text is never what its author meant.

local M = {}

-- What only a shell understands, outside quotes.
local SHELL = {
  ["|"] = "a pipe", ["&"] = "a shell operator", [";"] = "a shell operator", ["<"] = "a redirection",
  [">"] = "a redirection", ["("] = "a subshell", [")"] = "a subshell", ["$"] = "a shell variable",
  ["`"] = "a command substitution", ["*"] = "a file pattern", ["?"] = "a file pattern",
  ["["] = "a file pattern", ["{"] = "a shell brace", ["}"] = "a shell brace",
}
-- … and only where a word begins.
local AT_WORD_START = { ["~"] = "a home directory", ["#"] = "a shell comment" }

local WAY_OUT = 'there is no shell here: write pilot.sh "…" to use one, '
  .. 'or a list of words { "a", "b" } for the literal text'

local function shell_syntax(text, what, column)
  return nil, ("%s at column %d is %s, and %s"):format(text, column, what, WAY_OUT)
end

-- Inside double quotes a backslash is itself, except before these.
local function double_quoted(text, start)
  local position, parts = start + 1, {}
  while position <= #text do
    local char = text:sub(position, position)
    if char == '"' then return table.concat(parts), position + 1 end
    if char == "$" or char == "`" then return shell_syntax(char, SHELL[char], position) end
    if char == "\\" and text:find('^["\\$`\n]', position + 1) then
      position = position + 1
      char = text:sub(position, position)
      if char == "\n" then char = "" end
    end
    parts[#parts + 1] = char
    position = position + 1
  end
  return nil, ('the " at column %d is not closed'):format(start)
end

local function single_quoted(text, start)
  local stop = text:find("'", start + 1, true)
  if not stop then return nil, ("the ' at column %d is not closed"):format(start) end
  return text:sub(start + 1, stop - 1), stop + 1
end

local function escaped(text, start)
  if start == #text then return nil, ("the \\ at column %d has nothing behind it"):format(start) end
  local char = text:sub(start + 1, start + 1)
  return char == "\n" and "" or char, start + 2 -- a backslash at the end of a line joins it to the next
end

local READ = { ['"'] = double_quoted, ["'"] = single_quoted, ["\\"] = escaped }

---One word from `start` on: word, position behind it; or nil, message.
local function word_at(text, start)
  local position, parts = start, {}
  while position <= #text and not text:find("^%s", position) do
    local char = text:sub(position, position)
    local what = SHELL[char] or position == start and AT_WORD_START[char]
    if what then return shell_syntax(char, what, position) end
    local piece, after = text:match("^([%w_%-%./:=@%%+,^!]+)()", position) -- what is only itself, as far as it goes
    if not piece then piece, after = char, position + 1 end
    if READ[char] then piece, after = READ[char](text, position) end
    if not piece then return nil, after end
    parts[#parts + 1], position = piece, after
  end
  return table.concat(parts), position
end

---Splits a command line into words.
---@param text string
---@return string[]|nil argv
---@return string|nil message
function M.split(text)
  if text:find("\0", 1, true) then return nil, "contains a NUL byte, which no argument of a program can" end
  local argv, position = {}, text:find "%S"
  while position do
    local assignment = #argv == 0 and text:match("^[%a_][%w_]*=", position)
    if assignment then
      return nil, ('%s at column %d sets a variable as a shell would: write env = { %s = "…" } instead')
        :format(assignment, position, assignment:sub(1, -2))
    end
    local word, after = word_at(text, position)
    if not word then return nil, after end
    argv[#argv + 1] = word
    position = text:find("%S", after)
  end
  if #argv == 0 then return nil, 'the command is empty: write for example "nginx -g \'daemon off;\'"' end
  if argv[1] == "" then return nil, "the first word is empty: it must name the program" end
  return argv
end

---An argv as one line for messages; `split` reads it back.
---@param argv string[]
---@return string
function M.show(argv)
  local words = {}
  for i, word in ipairs(argv) do
    local safe = word:find "^[%w_%-%./:=@%%+,^!]+$" and not (i == 1 and word:find "^[%a_][%w_]*=")
    words[i] = safe and word or "'" .. word:gsub("'", "'\\''") .. "'"
  end
  return table.concat(words, " ")
end

return M
