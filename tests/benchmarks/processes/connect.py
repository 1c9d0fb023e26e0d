"""Redpanda Connect, made at-least-once by hand: BLMOVE, an `http` processor with retries, LREM.

It has no reliable queue of its own. Its library comes in the wheel `mq-bridge-connect`, which `mq-bridge` runs.
"""

import sys

import mq_bridge  # 280 MB: installed only by whoever wants to compare
import mq_bridge_connect

ROUTE = """
drain:
  input:
    custom:
      name: connect
      config:
        connector: broker
        copies: {copies}
        inputs:
          - generate: {{count: 0, interval: "", mapping: 'root = ""'}}
            processors:
              - redis:
                  url: {redis}
                  command: blmove
                  args_mapping: 'root = ["{source}", "{processing}", "LEFT", "RIGHT", 2]'
              - mapping: |
                  root = if errored() {{ deleted() }} else {{ this }}
                  meta cdr = this
              - http: {{url: "{url}", verb: POST, retries: 3, headers: {{Content-Type: application/json}}}}
              - mapping: 'root = if errored() {{ deleted() }}'
              - redis:
                  url: {redis}
                  command: lrem
                  args_mapping: 'root = ["{processing}", 1, metadata("cdr")]'
              - mapping: 'root = deleted()'
  output:
    file: {{path: /dev/null}}
"""


def main(redis: str, url: str, source: str, processing: str, copies: str) -> None:
    mq_bridge_connect.register()
    text = ROUTE.format(redis=redis, url=url, source=source, processing=processing, copies=copies)
    route = mq_bridge.Route.from_str(text, "drain")
    print("ready", file=sys.stderr, flush=True)
    route.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
