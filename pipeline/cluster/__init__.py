from pipeline.cluster.connect.tokens import use_found

# Before any module of this package imports Ray, which reads it once.
use_found()
