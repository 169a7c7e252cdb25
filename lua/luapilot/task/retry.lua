-- retry: tries again what failed, for a while: the `retry = "30s"` of calls to the web and to Consul.
--
-- The pauses double, each less up to a quarter at random, so that many who failed together do not come back together.
-- Whoever asks says which failures are worth another attempt. It owns the pauses.

local retry = {}

---Failures to get an answer at all that another attempt does not better: code → true.
retry.FOR_GOOD = {
  ENOSYS = true, EINVAL = true, EMSGSIZE = true, ECERT = true, ETLS = true, EPROTONOSUPPORT = true, ELOOP = true,
  EDESTADDRREQ = true, ENOTSOCK = true,
}

local FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5

---Calls attempt() until it succeeds, fails for good, or `seconds` would be over before the next; what the last one
---returned. Waits.
---@param tasks luapilot.Scheduler
---@param what string               names the call
---@param seconds number?           nil: once
---@param attempt fun(): any, string?, any
---@param is_worth_another fun(result: any, message: string?, code: any): boolean
---@return any result, string? message, any code
function retry.run(tasks, what, seconds, attempt, is_worth_another)
  local port = tasks.loop.port
  local deadline, pause = port.now() + (seconds or 0), FIRST_PAUSE
  while true do
    local result, message, code = attempt()
    local wait = pause * (1 - port.random() / 4)
    if not seconds or port.now() + wait > deadline or not is_worth_another(result, message, code) then
      return result, message, code
    end
    tasks:sleep(wait, what)
    pause = math.min(2 * pause, LONGEST_PAUSE)
  end
end

return retry
