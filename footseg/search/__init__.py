"""Search for the best network and training within a budget: ``footseg search``.

    space --suggest--> point --trial--> record and run --suggest--> the next point ... --tables--> results

``space.py`` reads what may vary, ``suggest.py`` draws points by hyperopt, ``loop.py`` asks for them and hands
them to workers (``workers.py`` here, ``spark.py`` on a cluster), ``trial.py`` is what a worker does with one:
``costs.py`` first, then training under ``stopping.py``. ``records.py`` is the folder that holds it all.
"""
