"""A replica that is cut off from GoToAssist says so, and recovers."""


async def run(report):
    report.note("to come")
