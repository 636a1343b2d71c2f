"""Full sync of the benchmark's customers into SQLite with sqlite-utils.

    load.py URL FILE
"""
import json
import sys
import urllib.request

import sqlite_utils

COMMIT_ROWS = 20000  # as kedge's sync.commitRows


def pages(url):
    while url:
        request = urllib.request.Request(url, headers={
            "Accept": "application/json;odata.metadata=minimal;IEEE754Compatible=true",
            "OData-MaxVersion": "4.01",
            "Prefer": "odata.track-changes,odata.maxpagesize=1000",
        })
        with urllib.request.urlopen(request) as answer:
            page = json.load(answer)
        yield page["value"]
        url = page.get("@odata.nextLink")


def rows(url):
    for page in pages(url):
        for row in page:
            del row["@odata.etag"]
            row["RowVersion"] = int(row["RowVersion"])
            yield {COLUMNS[name]: value for name, value in row.items()}


COLUMNS = {
    "No": "no", "Name": "name", "Street": "street", "City": "city", "PostCode": "post_code", "Country": "country",
    "Email": "email", "Phone": "phone", "Balance": "balance", "Blocked": "blocked", "RowVersion": "row_version",
    "ModifiedAt": "modified_at",
}

db = sqlite_utils.Database(sys.argv[2])
db.conn.execute("PRAGMA journal_mode = wal")
db["customer"].upsert_all(rows(sys.argv[1]), pk="no", batch_size=COMMIT_ROWS)
