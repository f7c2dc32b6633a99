"""Getting vectors from providers: see `dispatcher`."""

from app.dispatch.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
