-- hints: what may be done about a failure of the network, to stand behind its message.
--
-- It owns these words, for whoever talks to the web or to Consul. It never makes a message by itself.

local hints = {}

local BY_CODE = {
  ECONNREFUSED = 'nobody listens there: is it running, is the port right? retry = "30s" waits for it',
  ENOENT = 'is it running, is the path right? retry = "30s" waits for it',
  EAI_NONAME = "is the name right?",
  ETIMEDOUT = "timeout allows more",
  EUSERS = "limits.http_max_conns_per_client of Consul's agent is used up, by all programs at this address: raise it",
}

local function of_certificate(message)
  if message:find("signed by", 1, true) then return 'tls = { cafile = "…" } trusts a CA of your own' end
  if message:find("another name", 1, true) then return 'tls = { servername = "…" } says which name it has' end
end

---@param message string     of the port
---@param code string?
---@return string?
function hints.of(message, code)
  if code == "ECERT" then return of_certificate(message) end
  if code == "ETLS" and message:find("wrong version number", 1, true) then
    return 'is it TLS that is spoken there? "http://…" is without'
  end
  return BY_CODE[code]
end

return hints
